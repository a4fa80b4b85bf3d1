use pi_gateway::{agent, config::Env, gateway};

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "demo-agent") {
        std::process::exit(agent::demo::main(std::env::args_os().skip(2)));
    }
    let mut o = gateway::Options::default();
    args.reverse();
    while let Some(a) = args.pop() {
        match a.as_str() {
            "--config" => o.config = args.pop().map(Into::into),
            "--port" => o.port = args.pop().and_then(|p| p.parse().ok()),
            "--demo" => o.demo = true,
            "--demo-if-no-pi" => o.demo_if_no_pi = true,
            "--allow-defaults" => o.allow_defaults = true,
            "--verbose" => o.verbose = true,
            _ => {}
        }
    }
    std::process::exit(gateway::run(o, &Env::from_process()).into());
}
