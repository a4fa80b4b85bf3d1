//! Markdown of agents as platforms get it: what each construct becomes, where texts are cut, and that nothing a model
//! can write breaks it.

#![allow(clippy::unwrap_used)]

mod constructs;
mod cuts;
mod hostile;
mod random;
mod validator;
