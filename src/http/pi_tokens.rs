//! The tokens of the pi processes: one for each, valid from its start to its end, at the agent door only (R4).
//!
//! The table knows which process a token belongs to and nothing else; which session that is, the mind says.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use ring::hmac;
use ring::rand::SystemRandom;

use super::logins::random;
use crate::message::ProcId;
use crate::tools::Offer;

/// Who may call the agent door. Shared by the port and by whoever starts pi.
#[derive(Debug)]
pub struct PiTokens {
    /// Of this life of the gateway: what is kept of a token tells nothing elsewhere.
    key: hmac::Key,
    /// Keyed digests; at most one per living process.
    known: Mutex<HashMap<ProcId, (hmac::Tag, Offer)>>,
}

impl Default for PiTokens {
    fn default() -> PiTokens {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        PiTokens { key: key.expect("the system's random numbers do not run out"), known: Mutex::default() }
    }
}

impl PiTokens {
    /// A new token of that process: 32 random bytes as base64url. An older one of it is void. `offer`: the tools that
    /// it was started with.
    pub fn issue(&self, proc: ProcId, offer: Offer) -> String {
        let token = random(32);
        let tag = hmac::sign(&self.key, token.as_bytes());
        self.lock().insert(proc, (tag, offer));
        token
    }

    /// The process is gone, or did not start.
    pub fn revoke(&self, proc: ProcId) {
        self.lock().remove(&proc);
    }

    /// Whose token this is. Takes as long for a wrong one as for a right one.
    pub(crate) fn holder(&self, token: &str) -> Option<ProcId> {
        let known = self.lock();
        let mut holder = None;
        for (proc, (tag, _)) in known.iter() {
            if hmac::verify(&self.key, token.as_bytes(), tag.as_ref()).is_ok() {
                holder = Some(*proc);
            }
        }
        holder
    }

    /// The tools that the process was started with.
    pub(crate) fn offer(&self, proc: ProcId) -> Offer {
        self.lock().get(&proc).map(|(_, offer)| *offer).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProcId, (hmac::Tag, Offer)>> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_process_until_that_is_gone() {
        let tokens = PiTokens::default();
        let (one, two) = (tokens.issue(ProcId(1), Offer::default()), tokens.issue(ProcId(2), Offer::default()));
        assert_eq!((one.len(), one != two), (43, true));
        assert_eq!((tokens.holder(&one), tokens.holder(&two)), (Some(ProcId(1)), Some(ProcId(2))));
        assert_eq!((tokens.holder(""), tokens.holder(&one[1..])), (None, None));
        tokens.revoke(ProcId(1));
        assert_eq!((tokens.holder(&one), tokens.holder(&two)), (None, Some(ProcId(2))));
        assert_eq!(PiTokens::default().holder(&two), None);
    }
}
