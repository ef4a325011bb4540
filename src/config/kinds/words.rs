//! Words that stand for something: each key that takes one has a few of them.

use serde_json::{Value as Json, json};

use super::scalars::scalar;
use crate::config::definition::{LogTarget, RestartPolicy};
use crate::config::report::{Report, suggest};
use crate::config::rule::Action;
use crate::config::settings::{Engine, Offload, OnExit};
use crate::config::written::{Read, shown_node};
use crate::config::yaml::Node;

/// What a chain does with a packet that no rule matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::config) struct ChainDefault(pub(in crate::config) Action);

/// A word that is the only word of its kind.
macro_rules! lone_word {
    ($(#[$doc:meta])+ $name:ident = $word:literal) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub(in crate::config) struct $name;

        impl Choice for $name {
            const WORDS: &'static [(&'static str, Self)] = &[($word, Self)];
        }
    };
}

lone_word!(/// Whatever is free, or as many as there are.
    Auto = "auto");
lone_word!(/// Not at all.
    Nothing = "none");
lone_word!(/// All of them.
    Any = "any");
lone_word!(/// By uWSGI's emperor protocol.
    EmperorWord = "emperor");

/// How a command is known to be ready, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum ReadyWord {
    Exec,
    Notify,
    Emperor,
}

/// One of the namespaces that a vassal may have beside its network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum NamespaceWord {
    Pid,
    Mount,
    Uts,
    Ipc,
    User,
    Cgroup,
}

/// One of a few words.
pub(in crate::config) trait Choice: Sized + Copy + 'static {
    /// The words and what they stand for.
    const WORDS: &'static [(&'static str, Self)];

    /// What `word` stands for.
    fn find(word: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(name, _)| *name == word)
            .map(|&(_, meaning)| meaning)
    }

    /// The word for this.
    fn name(self) -> Option<&'static str>
    where
        Self: PartialEq,
    {
        Self::WORDS
            .iter()
            .find(|(_, meaning)| *meaning == self)
            .map(|&(name, _)| name)
    }

    /// The words alone.
    fn names() -> Vec<&'static str> {
        Self::WORDS.iter().map(|&(name, _)| name).collect()
    }
}

impl Choice for RestartPolicy {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("always", Self::Always),
        ("on-failure", Self::OnFailure),
        ("never", Self::Never),
    ];
}

impl Choice for ReadyWord {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("exec", Self::Exec),
        ("notify", Self::Notify),
        ("emperor", Self::Emperor),
    ];
}

impl Choice for LogTarget {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("file", Self::File),
        ("inherit", Self::Inherit),
        ("journal", Self::Journal),
        ("none", Self::None),
    ];
}

impl Choice for Engine {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("io_uring", Self::IoUring),
        ("epoll", Self::Epoll),
    ];
}

impl Choice for Offload {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];
}

impl Choice for OnExit {
    const WORDS: &'static [(&'static str, Self)] = &[("stop", Self::Stop), ("keep", Self::Keep)];
}

impl Choice for ChainDefault {
    const WORDS: &'static [(&'static str, Self)] =
        &[("allow", Self(Action::Allow)), ("deny", Self(Action::Deny))];
}

impl Choice for NamespaceWord {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("pid", Self::Pid),
        ("mount", Self::Mount),
        ("uts", Self::Uts),
        ("ipc", Self::Ipc),
        ("user", Self::User),
        ("cgroup", Self::Cgroup),
    ];
}

macro_rules! read_choice {
    ($($kind:ty),+) => {$(
        impl Read for $kind {
            fn read(node: &Node, key: &str, report: &mut Report) -> Option<Self> {
                let text = scalar(node, key, report, &format!("one of {}", Self::names().join(", ")))?;
                Self::find(text).or_else(|| {
                    let help = suggest(text, Self::names());
                    report.error(Some(node.place), format!("`{key}` is {}", shown_node(node)), help);
                    None
                })
            }

            fn schema() -> Json {
                json!({"enum": Self::names()})
            }
        }
    )+};
}
read_choice!(
    RestartPolicy,
    LogTarget,
    Engine,
    Offload,
    OnExit,
    ChainDefault,
    NamespaceWord
);
