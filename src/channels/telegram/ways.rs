//! By which method a file is sent (telegram.md 15). Pure.

use super::api::Message;
use crate::message::OutFile;

/// A method and its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Photo,
    Animation,
    Audio,
    Voice,
    Video,
    Sticker,
    Document,
}

impl Way {
    /// Of a file, by its ending and what its sender calls it.
    pub fn of(file: &OutFile) -> Way {
        let hint = file.kind.as_str();
        match (file.ending().as_str(), hint) {
            (_, "document") => Way::Document,
            ("tgs", _) | ("webp" | "webm", "sticker") => Way::Sticker,
            ("jpg" | "jpeg" | "png" | "webp" | "bmp", _) => Way::Photo,
            ("gif", _) => Way::Animation,
            ("mp3" | "m4a", _) => Way::Audio,
            ("ogg" | "oga" | "opus", _) => Way::Voice,
            ("mp4", "animation") => Way::Animation,
            ("mp4", _) => Way::Video,
            // An address without an ending: its sender knows.
            ("", hint) if file.is_address() => match hint {
                "photo" => Way::Photo,
                "animation" => Way::Animation,
                "audio" => Way::Audio,
                "voice" => Way::Voice,
                "video" => Way::Video,
                "sticker" => Way::Sticker,
                _ => Way::Document,
            },
            _ => Way::Document,
        }
    }

    pub fn field(self) -> &'static str {
        match self {
            Way::Photo => "photo",
            Way::Animation => "animation",
            Way::Audio => "audio",
            Way::Voice => "voice",
            Way::Video => "video",
            Way::Sticker => "sticker",
            Way::Document => "document",
        }
    }

    pub fn method(self) -> &'static str {
        match self {
            Way::Photo => "sendPhoto",
            Way::Animation => "sendAnimation",
            Way::Audio => "sendAudio",
            Way::Voice => "sendVoice",
            Way::Video => "sendVideo",
            Way::Sticker => "sendSticker",
            Way::Document => "sendDocument",
        }
    }

    pub fn action(self) -> &'static str {
        match self {
            Way::Photo => "upload_photo",
            Way::Video | Way::Animation => "upload_video",
            Way::Audio | Way::Voice => "upload_voice",
            Way::Sticker => "choose_sticker",
            Way::Document => "upload_document",
        }
    }

    pub fn mime(self, ending: &str) -> &'static str {
        match ending {
            "jpg" | "jpeg" => "image/jpeg",
            "png" => "image/png",
            "webp" => "image/webp",
            "gif" => "image/gif",
            "mp3" => "audio/mpeg",
            "m4a" => "audio/mp4",
            "ogg" | "oga" | "opus" => "audio/ogg",
            "mp4" => "video/mp4",
            "webm" => "video/webm",
            _ => "application/octet-stream",
        }
    }

    /// Does it go into an album with others?
    pub fn in_albums(self) -> bool {
        matches!(self, Way::Photo | Way::Video)
    }

    pub fn file_id(self, m: &Message) -> Option<String> {
        let file = match self {
            Way::Photo => m.photo.last(),
            Way::Animation => m.animation.as_deref(),
            Way::Audio => m.audio.as_deref(),
            Way::Voice => m.voice.as_deref(),
            Way::Video => m.video.as_deref(),
            Way::Sticker => m.sticker.as_deref(),
            Way::Document => m.document.as_deref(),
        };
        file.map(|f| f.file_id.clone()).filter(|id| !id.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_file_has_its_method() {
        for (at, kind, way) in [
            ("a.jpg", "", Way::Photo),
            ("a.JPEG", "photo", Way::Photo),
            ("a.gif", "photo", Way::Animation),
            ("a.mp3", "audio", Way::Audio),
            ("a.ogg", "audio", Way::Voice),
            ("a.wav", "audio", Way::Document),
            ("a.mp4", "", Way::Video),
            ("a.mov", "video", Way::Document),
            ("a.webp", "", Way::Photo),
            ("a.webp", "sticker", Way::Sticker),
            ("a.tgs", "", Way::Sticker),
            ("a.png", "document", Way::Document),
            ("a.pdf", "", Way::Document),
            ("https://h/x.png?size=1", "", Way::Photo),
            ("https://h/x", "video", Way::Video),
            ("https://h/x", "", Way::Document),
        ] {
            let file = OutFile { at: at.into(), kind: kind.into(), ..OutFile::default() };
            assert_eq!(Way::of(&file), way, "{at} {kind}");
        }
    }
}
