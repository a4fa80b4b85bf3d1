//! Doorbells: how somebody who waits for any of many things is told to look.

use std::fmt::Debug;
use std::sync::Arc;

use crossbeam_channel::{Sender, TrySendError};

/// Wakes a listener, who then looks what there is. Never blocks; rung twice before the listener looked, it wakes once.
pub trait Ring: Debug + Send + Sync {
    /// `false`: nobody listens any more.
    fn ring(&self) -> bool;
}

pub type Bell = Arc<dyn Ring>;

/// A channel of capacity 1, for a listener that is a thread.
impl Ring for Sender<()> {
    fn ring(&self) -> bool {
        !matches!(self.try_send(()), Err(TrySendError::Disconnected(())))
    }
}
