//! Whatever stands in a file: it is judged without a panic, and every problem can be shown.

#[path = "fuzz/bodies/mod.rs"]
mod bodies;
mod packets;
mod world;

use bodies::files::definition as judge;
use proptest::prelude::*;

const GOOD: [&str; 3] = [
    include_str!("golden/good/vassals/everything.yaml"),
    include_str!("golden/good/vassals/anchors.yaml"),
    include_str!("golden/good/settings/everything.yaml"),
];

proptest! {
    #[test]
    fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        judge(&bytes);
    }

    #[test]
    fn any_yamlish_text_is_judged(text in "([a-z]{1,8}: |- |\\[|\\]|\\{|\\}|, |\n|  |'|\"|&a |\\*a|!x |<<: |#|\\||>|\\?|%|~|[0-9]|\\PC){0,60}") {
        judge(text.as_bytes());
    }

    #[test]
    fn any_damage_to_a_good_file_is_judged(
        which in 0..GOOD.len(),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0..12_usize, "[ -~\n\t\u{e4}]{0,6}"), 1..4),
    ) {
        let mut text: Vec<char> = GOOD[which].chars().collect();
        for (at, length, put) in cuts {
            let from = at.index(text.len());
            let to = (from + length).min(text.len());
            text.splice(from..to, put.chars());
            if text.is_empty() {
                text.push('x');
            }
        }
        judge(text.into_iter().collect::<String>().as_bytes());
    }
}
