//! Where frames begin and end in the bytes that come in (RFC 6455 5.2). tungstenite does not say whether it holds the
//! beginning of one, and keeps the room that a long message took.

/// Watches the bytes pass.
#[derive(Default)]
pub struct Bounds {
    head: [u8; 14],
    have: usize,
    /// Of the frame's payload.
    left: u64,
    /// A message of several frames is not complete.
    open: bool,
}

impl Bounds {
    /// Nothing has begun that has not ended.
    pub fn clear(&self) -> bool {
        self.have == 0 && self.left == 0 && !self.open
    }

    pub fn pass(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let n = self.left.min(bytes.len() as u64);
                self.left -= n;
                bytes = &bytes[n as usize..];
                continue;
            }
            self.head[self.have] = *first;
            self.have += 1;
            bytes = &bytes[1..];
            if let Some(payload) = self.payload() {
                let (last, kind) = (self.head[0] & 0x80 != 0, self.head[0] & 0x0f);
                if kind < 8 {
                    self.open = !last; // control frames come between
                }
                (self.have, self.left) = (0, payload);
            }
        }
    }

    /// Its size, if the head is complete.
    fn payload(&self) -> Option<u64> {
        let head = &self.head[..self.have];
        let second = *head.get(1)?;
        let mask = if second & 0x80 != 0 { 4 } else { 0 };
        let long = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if head.len() < 2 + long + mask {
            return None;
        }
        let size = head[2..2 + long].iter().fold(0, |n, b| n << 8 | u64::from(*b));
        Some(if long > 0 { size } else { u64::from(second & 0x7f) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, size: usize) -> Vec<u8> {
        let mut all = vec![first];
        match size {
            0..126 => all.push(0x80 | size as u8),
            126..65536 => {
                all.push(0xfe);
                all.extend((size as u16).to_be_bytes());
            }
            _ => {
                all.push(0xff);
                all.extend((size as u64).to_be_bytes());
            }
        }
        all.extend([7; 4]);
        all.extend(vec![0xff; size]);
        all
    }

    #[test]
    fn it_is_clear_between_messages_only_however_the_bytes_come() {
        let frames =
            [(0x81, 0), (0x81, 5), (0x01, 125), (0x89, 0), (0x00, 126), (0x8a, 3), (0x80, 70_000), (0x82, 300)];
        let (mut all, mut ends) = (Vec::new(), Vec::new());
        let mut open = false;
        for (first, size) in frames {
            all.extend(frame(first, size));
            open = if first & 0x0f < 8 { first & 0x80 == 0 } else { open };
            ends.extend((!open).then_some(all.len()));
        }
        for step in [1, 2, 3, 7, 1000, all.len()] {
            let (mut bounds, mut passed) = (Bounds::default(), 0);
            for piece in all.chunks(step) {
                bounds.pass(piece);
                passed += piece.len();
                assert_eq!(bounds.clear(), ends.contains(&passed), "after {passed} in steps of {step}");
            }
        }
    }
}
