//! From a file to a [`Config`]: find, parse, substitute, migrate, read, check, override.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::check;
use super::env::Env;
use super::env_file;
use super::issue::{has_errors, Issue, Severity};
use super::legacy;
use super::node::{index, join, Kind, Node, Origin};
use super::pass::Pass;
use super::paths::Paths;
use super::reader::Reader;
use super::redact;
use super::reload::Class;
use super::secret::{readable_by_others, Secret};
use super::source::Source;
use super::subst::substitute;
use super::types::{Bind, Config};

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--strict`: warnings are errors.
    pub strict: bool,
    /// No file at the nominal place is no error: the defaults are used. A file that was named must exist.
    pub allow_missing: bool,
    /// `--port`.
    pub port: Option<u16>,
    /// `--bind`.
    pub bind: Option<String>,
    /// Channels that plugins provide, if they are known already: no warning about their names.
    pub plugin_channels: Vec<String>,
}

/// Which file counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Absolute.
    pub path: PathBuf,
    /// Whether it was named by `--config` or `PI_GATEWAY_CONFIG`.
    pub named: bool,
}

/// A configuration and where it came from.
#[derive(Clone)]
pub struct Loaded {
    pub config: Config,
    /// Warnings and notes, in the file's order.
    pub issues: Vec<Issue>,
    /// The file. It need not exist with [`Options::allow_missing`].
    pub path: PathBuf,
    /// Values that came from variables, by key path.
    pub origins: BTreeMap<String, Origin>,
    /// Everything by its key, defaults included, secrets in clear.
    pub(crate) effective: Value,
    /// Reload class by key path.
    pub(crate) classes: BTreeMap<String, Class>,
}

impl Loaded {
    /// The effective configuration without secrets, as the API shows it.
    pub fn redacted(&self) -> Value {
        redact::with_origins(&self.effective, "", &self.origins)
    }

    /// The effective configuration with its secrets. For a person at a terminal who asked for them.
    pub fn revealed(&self) -> &Value {
        &self.effective
    }

    /// The directories and files that follow from it.
    pub fn paths(&self, env: &Env) -> Paths {
        Paths::new(&self.config, env)
    }
}

/// Without the effective values, which hold secrets.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("path", &self.path)
            .field("config", &self.config)
            .field("issues", &self.issues)
            .finish()
    }
}

/// Decides which file counts: `named` (`--config`), `PI_GATEWAY_CONFIG`, then the usual places.
pub fn find(env: &Env, named: Option<&Path>) -> Found {
    let absolute = |path: &str| env.resolve(path, &env.cwd);
    if let Some(path) = named {
        return Found { path: absolute(&path.to_string_lossy()), named: true };
    }
    if let Some(path) = env.var("PI_GATEWAY_CONFIG") {
        return Found { path: absolute(path), named: true };
    }
    let nominal = env.home.join(".pi/gateway/pi-gateway.jsonc");
    let places = [
        env.cwd.join("pi-gateway.jsonc"),
        env.cwd.join("pi-gateway.json"),
        nominal.clone(),
        env.home.join(".pi/gateway/pi-gateway.json"),
    ];
    let path = places.into_iter().find(|path| path.exists()).unwrap_or(nominal);
    Found { path, named: false }
}

/// Loads the file that counts. On errors all issues are given, not only the errors.
pub fn load(env: &Env, options: &Options) -> Result<Loaded, Vec<Issue>> {
    let found = find(env, options.file.as_deref());
    load_bytes(content(&found, options)?, &found.path, env, options)
}

fn content(found: &Found, options: &Options) -> Result<Vec<u8>, Vec<Issue>> {
    match std::fs::read(&found.path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !found.named => match options.allow_missing {
            true => Ok(b"{}".to_vec()),
            false => Err(vec![Issue::new(Severity::Error, "", "no configuration").hint(format!(
                "run pi-gw onboard, write one to {} (`{{}}` will do), or give --allow-defaults",
                found.path.display()
            ))]),
        },
        Err(error) => {
            let mut issue = Issue::new(Severity::Error, "", format!("cannot read the configuration: {error}"));
            issue.file = Arc::from(found.path.as_path());
            Err(vec![issue])
        }
    }
}

/// What is known about a file that may be wrong.
pub enum Examined {
    /// It can be read. With errors among the issues it must not be run on: what is wrong is at its default.
    Read(Box<Loaded>),
    /// There is nothing to look at.
    Unreadable(Vec<Issue>),
}

/// Reads the file that counts as far as it goes. For `doctor`, which has more to say than the first errors.
pub fn examine(env: &Env, options: &Options) -> Examined {
    let found = find(env, options.file.as_deref());
    let read = content(&found, options).and_then(|bytes| read_bytes(bytes, &found.path, env, options));
    match read {
        Ok(loaded) => Examined::Read(Box::new(loaded)),
        Err(issues) => Examined::Unreadable(issues),
    }
}

/// The built-in defaults, as if the file were empty. Variables of the environment are not looked at.
pub fn defaults(env: &Env) -> Loaded {
    let env = Env { vars: BTreeMap::new(), ..env.clone() };
    let path = env.home.join(".pi/gateway/pi-gateway.jsonc");
    let loaded = read(&Source::new(Arc::from(path), String::new()), Node::empty_object(), &env, &Options::default());
    Loaded { issues: Vec::new(), ..loaded }
}

/// Loads the content of a file. `path` is for messages, relative paths and the check of its rights.
pub fn load_bytes(bytes: Vec<u8>, path: &Path, env: &Env, options: &Options) -> Result<Loaded, Vec<Issue>> {
    let loaded = read_bytes(bytes, path, env, options)?;
    match has_errors(&loaded.issues) {
        true => Err(loaded.issues),
        false => Ok(loaded),
    }
}

fn read_bytes(bytes: Vec<u8>, path: &Path, env: &Env, options: &Options) -> Result<Loaded, Vec<Issue>> {
    let source = Source::decode(path, bytes).map_err(|issue| vec![*issue])?;
    let root = source.parse().map_err(|issue| vec![*issue])?;
    let file = env_file::of(&root, source.path.parent().unwrap_or(Path::new("/")), env);
    let full = env_file::completed(&file, env);
    let mut loaded = read(&source, root, &full, options);
    if matches!(full, Cow::Owned(_)) && readable_by_others(&file) {
        let text = format!("{} holds secrets and other users can read it; run: chmod 600 {0}", file.display());
        loaded.issues.push(Issue::new(Severity::Warning, "config.permissions", text));
    }
    if options.strict {
        loaded.issues.iter_mut().filter(|issue| issue.severity == Severity::Warning).for_each(|issue| {
            issue.severity = Severity::Error;
        });
    }
    // In the order of the file; what belongs to no place comes last.
    loaded.issues.sort_by_key(|issue| (issue.pos.is_none(), issue.pos));
    Ok(loaded)
}

fn read(source: &Source, mut root: Node, env: &Env, options: &Options) -> Loaded {
    let substituted = substitute(&mut root, source, env);
    let mut early = substituted.issues;
    for migration in legacy::plan(&root) {
        let text = format!("old form, {}", migration.notice);
        let issue = source.issue(Severity::Info, &migration.key, text, Some(migration.span.clone()));
        early.push(issue.hint("pi-gw config migrate --write rewrites the file"));
        legacy::apply(&mut root, &migration);
    }
    let base = source.path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let pass = Pass::new(source, env, &root, base);
    let unset = has_errors(&early);
    early.into_iter().for_each(|issue| pass.push(issue));

    report_duplicates(&pass, &root, "");
    let reader = Reader::new(&pass, Some(&root), String::new(), false);
    // Editors look for it; it means nothing here.
    reader.take(None, "$schema");
    let mut config = Config::read(&reader);
    reader.object_at("channels", |channels| config.channels.check_names(channels, &options.plugin_channels));
    let mut effective = reader.finish();
    pass.report_unknown();

    overrides(&mut config, &mut effective, &pass, options);
    // With values missing for want of variables, further errors would be about nothing.
    if !unset {
        check::check(&config, &pass);
    }
    if pass.literal_secret.get() && readable_by_others(&source.path) {
        let text =
            format!("the file holds secrets and other users can read it; run: chmod 600 {}", source.path.display());
        pass.push(source.issue(Severity::Warning, "config.permissions", text, None));
    }

    config.secrets = pass.secrets.take();
    config.secrets.sort_by(|a, b| a.expose().cmp(b.expose()));
    config.secrets.dedup();
    config.vars_outside_agent = substituted.vars_outside_agent;
    Loaded {
        config,
        issues: pass.issues.take(),
        path: source.path.to_path_buf(),
        origins: pass.origins.take(),
        effective,
        classes: pass.classes.take(),
    }
}

/// A key written twice is a mistake, in free-form objects too.
fn report_duplicates(pass: &Pass<'_>, node: &Node, path: &str) {
    if let Kind::List(items) = &node.kind {
        for (i, item) in items.iter().enumerate() {
            report_duplicates(pass, item, &index(path, i));
        }
    }
    let mut seen = BTreeSet::new();
    for entry in node.entries() {
        let key = join(path, &entry.name);
        if !seen.insert(&entry.name) {
            let text = "this key occurs twice, the last one counts";
            let span = Some(entry.key.clone());
            pass.push(pass.source.issue(Severity::Warning, &key, text, span));
        }
        report_duplicates(pass, &entry.value, &key);
    }
}

/// The environment beats the file, the command line beats the environment.
fn overrides(config: &mut Config, effective: &mut Value, pass: &Pass<'_>, options: &Options) {
    let mut set = |path: &[&str], value: Value| {
        let mut at = &mut *effective;
        for name in path {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[*name];
        }
        *at = value;
    };
    if pass.root.at(&["logging", "level"]).is_none() {
        if let Some(level) = config.gateway.log_level {
            config.logging.level = level;
            set(&["logging", "level"], level.as_str().into());
        }
    }
    if let Some(text) = pass.env.var("PI_GATEWAY_PORT") {
        match text.trim().parse::<u16>() {
            Ok(port) if port > 0 => {
                config.gateway.port = port;
                let origin =
                    Origin { text: "${PI_GATEWAY_PORT}".into(), vars: vec!["PI_GATEWAY_PORT".into()], whole: true };
                pass.origins.borrow_mut().insert("gateway.port".into(), origin);
            }
            _ => {
                let text = "PI_GATEWAY_PORT is not a whole number from 1 to 65535: ignored";
                pass.push(Issue::new(Severity::Warning, "gateway.port", text));
            }
        }
    }
    if let (None, Some(token)) = (&config.gateway.auth.token, pass.env.var("PI_GATEWAY_AUTH_TOKEN")) {
        let token = Secret::new(token.trim());
        set(&["gateway", "auth", "token"], token.expose().into());
        pass.secrets.borrow_mut().push(token.clone());
        config.gateway.auth.token = Some(token);
        let name = "PI_GATEWAY_AUTH_TOKEN".to_owned();
        let origin = Origin { text: format!("${{{name}}}"), vars: vec![name], whole: true };
        pass.origins.borrow_mut().insert("gateway.auth.token".into(), origin);
    }
    if let Some(port) = options.port {
        config.gateway.port = port;
        pass.origins.borrow_mut().remove("gateway.port");
    }
    if let Some(text) = &options.bind {
        match Bind::parse(text) {
            Ok(bind) => {
                config.gateway.bind = bind;
                set(&["gateway", "bind"], text.as_str().into());
            }
            Err(why) => pass.push(Issue::new(Severity::Error, "--bind", why)),
        }
    }
    set(&["gateway", "port"], config.gateway.port.into());
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::env::tests::bare;
    use super::*;

    /// Loads a text with an empty environment; panics on errors.
    pub(crate) fn load_text(text: &str) -> Loaded {
        match load_bytes(text.into(), Path::new("/nowhere/f.jsonc"), &bare(Path::new("/nowhere")), &Options::default())
        {
            Ok(loaded) => loaded,
            Err(issues) => panic!("{}", issues.iter().map(Issue::to_string).collect::<Vec<_>>().join("\n")),
        }
    }
}
