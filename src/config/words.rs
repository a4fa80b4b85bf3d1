//! Settings that are one word of a few.

/// An enum whose variants are words in the file.
pub(crate) trait Word: Copy + 'static {
    const ALL: &'static [(&'static str, Self)];
    /// The word in the file.
    fn word(self) -> &'static str;
}

/// Declares an enum of words: `Variant = "word"`.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }
        impl $name {
            /// The word in the configuration file.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl $crate::config::words::Word for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
            fn word(self) -> &'static str {
                self.as_str()
            }
        }
    };
}
pub(crate) use words;
