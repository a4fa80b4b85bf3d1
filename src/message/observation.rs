//! What happened that an operator may want to know of (gateway-api.md 1.8 "Observability").

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub const ALL: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Which part of the gateway it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    Gateway,
    Cron,
    Api,
    Rpc,
    Session,
    Channel,
    System,
}

impl Area {
    pub const ALL: [Area; 7] =
        [Area::Gateway, Area::Cron, Area::Api, Area::Rpc, Area::Session, Area::Channel, Area::System];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Area::Gateway => "gateway",
            Area::Cron => "cron",
            Area::Api => "api",
            Area::Rpc => "rpc",
            Area::Session => "session",
            Area::Channel => "channel",
            Area::System => "system",
        }
    }
}

/// One thing that happened; whoever keeps it adds the time.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    pub level: Level,
    pub category: Area,
    /// One word, by which they are counted: `reload`, `crash`.
    pub action: &'static str,
    /// A sentence for people.
    pub message: String,
    /// The conversation it happened in.
    pub session: Option<String>,
}

impl Observation {
    pub fn new(level: Level, category: Area, action: &'static str, message: impl Into<String>) -> Observation {
        Observation { level, category, action, message: message.into(), session: None }
    }

    pub fn of(self, session: &str) -> Observation {
        Observation { session: Some(session.to_owned()), ..self }
    }
}
