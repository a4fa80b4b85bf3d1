//! The service that install-daemon made, if it did.

use super::check::Check;
use super::Context;
use crate::cli::install;

pub fn check(context: &Context) -> Vec<Check> {
    let units = install::installed(&context.loaded.path, &context.env);
    units
        .into_iter()
        .map(|(system, file, program)| {
            let again = match system {
                true => "sudo pi-gw install-daemon --system",
                false => "pi-gw install-daemon",
            };
            let (file, place) = (file.display(), program.display());
            match install::unlingering(&context.env).filter(|_| !system) {
                _ if !program.is_file() => {
                    Check::error("service", format!("{file} starts {place}, which is not there"))
                        .remedy(format!("from where the program is now: {again}"))
                }
                Some(how) => Check::warning("service", format!("{file} runs only while you are logged in")).remedy(how),
                None => Check::ok("service", format!("{file}, starts {place}")),
            }
        })
        .collect()
}
