//! pi, the coding agent, as seen from outside: lines on its pipes, arguments it is started with, the session
//! files it leaves. Nothing here decides; what pi says goes up as events, what it shows goes to the live view.

mod decode;
pub mod demo;
mod front;
pub mod head;
pub mod process;
pub mod profile;
mod response;
pub mod rpc;
pub mod segments;
pub mod session_file;
pub mod session_parts;
mod shown;
pub mod tools;

pub(crate) use decode::clean as clean_json;
