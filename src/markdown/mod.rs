//! Text of an agent: Markdown read once into [`Rich`] text, cut to a platform's limits, written for the platform.
//!
//! All of it is pure, takes time in proportion to the text, and never fails: input is whatever a model wrote, often only
//! the first half of it. Knows nothing of channels.

mod builder;
mod cut;
mod gaps;
mod glyph;
mod link;
mod parse;
mod plain;
mod rich;
mod spoiler;
mod table;
mod tags;
mod telegram;

pub use builder::Builder;
pub use cut::{cut, Cost, Limits, Unit};
pub use parse::parse;
pub use plain::plain;
pub use rich::{Kind, Rich, Span, Step};
pub use tags::tags;
pub use telegram::{telegram_html, HTML};
