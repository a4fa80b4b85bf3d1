//! What a picture's first bytes say (telegram.md 8.5). Pure.

/// A picture's type and size, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    pub mime: &'static str,
    pub width: u32,
    pub height: u32,
}

/// `None`: no PNG, JPEG, GIF or WebP, or its size is not among these bytes.
pub fn look(b: &[u8]) -> Option<Picture> {
    let (mime, (width, height)) = match b {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => ("image/png", (be(b, 16, 4)?, be(b, 20, 4)?)),
        [0xff, 0xd8, 0xff, ..] => ("image/jpeg", jpeg(b)?),
        [b'G', b'I', b'F', b'8', ..] => ("image/gif", (le(b, 6, 2)?, le(b, 8, 2)?)),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => ("image/webp", webp(b)?),
        _ => return None,
    };
    Some(Picture { mime, width, height })
}

fn be(b: &[u8], at: usize, n: usize) -> Option<u32> {
    Some(b.get(at..at + n)?.iter().fold(0, |v, d| v << 8 | u32::from(*d)))
}

fn le(b: &[u8], at: usize, n: usize) -> Option<u32> {
    Some(b.get(at..at + n)?.iter().rev().fold(0, |v, d| v << 8 | u32::from(*d)))
}

/// The first frame header (`SOF0`–`SOF15` without `DHT`, `JPG`, `DAC`).
fn jpeg(b: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let marker = match b.get(at..at + 2)? {
            [0xff, 0xff] => {
                at += 1; // filling
                continue;
            }
            [0xff, marker] => *marker,
            _ => return None,
        };
        if (0xc0..=0xcf).contains(&marker) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            return Some((be(b, at + 7, 2)?, be(b, at + 5, 2)?));
        }
        at += 2 + be(b, at + 2, 2)?.max(2) as usize;
    }
}

/// RFC 9649: lossy, lossless or extended.
fn webp(b: &[u8]) -> Option<(u32, u32)> {
    match b.get(12..16)? {
        b"VP8 " => Some((le(b, 26, 2)? & 0x3fff, le(b, 28, 2)? & 0x3fff)),
        b"VP8L" => le(b, 21, 4).map(|v| ((v & 0x3fff) + 1, (v >> 14 & 0x3fff) + 1)),
        b"VP8X" => Some((le(b, 24, 3)? + 1, le(b, 27, 3)? + 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_tells_its_size() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x02\0\0\0\x07";
        let gif = b"GIF89a\x05\x01\x06\0";
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc2\0\x11\x08\x00\x20\x01\x00\x03";
        let mut vp8x = b"RIFF....WEBPVP8X........".to_vec();
        vp8x.extend([0xff, 1, 0, 9, 0, 0]);
        let mut vp8l = b"RIFF....WEBPVP8L....\x2f".to_vec();
        vp8l.extend((0x7fu32 | 0x1f << 14).to_le_bytes());
        for (bytes, want) in [
            (&png[..], Some(("image/png", 258, 7))),
            (gif, Some(("image/gif", 261, 6))),
            (jpeg, Some(("image/jpeg", 256, 32))),
            (&vp8x, Some(("image/webp", 512, 10))),
            (&vp8l, Some(("image/webp", 128, 32))),
            (b"<svg/>", None),
            (b"\xff\xd8\xff\xe0\0\0\0\0", None),
            (b"\x89PNG", None),
            (b"", None),
        ] {
            assert_eq!(look(bytes).map(|p| (p.mime, p.width, p.height)), want);
        }
    }
}
