use proptest::prelude::*;

use super::*;

/// Feeds the pieces; returns the whole text shown and whether a stop string was found.
fn run(stops: &[&str], mode: StopText, pieces: &[&str]) -> (String, bool) {
    let stops = stops.iter().map(|&stop| stop.to_owned()).collect();
    let mut matcher = StopMatcher::new(stops, mode);
    let mut shown = String::new();
    for piece in pieces {
        let released = matcher.push((*piece).to_owned());
        shown.push_str(&released.text);
        if released.stopped {
            return (shown, true);
        }
    }
    (shown + &matcher.finish(), false)
}

/// The rule in words: cut where the first match is complete; of equal ends the longest counts.
fn naive(stops: &[&str], mode: StopText, text: &str) -> (String, bool) {
    for end in (0..=text.len()).filter(|&end| text.is_char_boundary(end)) {
        let ending = stops.iter().filter(|stop| text[..end].ends_with(**stop));
        if let Some(stop) = ending.max_by_key(|stop| stop.len()) {
            let cut = if mode == StopText::Keep {
                end
            } else {
                end - stop.len()
            };
            return (text[..cut].to_owned(), true);
        }
    }
    (text.to_owned(), false)
}

#[test]
fn finds_a_stop_string_across_pieces() {
    assert_eq!(
        run(&["</s>"], StopText::Keep, &["a<", "/", "s>b"]),
        ("a</s>".into(), true)
    );
    assert_eq!(
        run(&["</s>"], StopText::Drop, &["a<", "/", "s>b"]),
        ("a".into(), true)
    );
}

#[test]
fn tells_which_stop_string_it_found() {
    let mut matcher = StopMatcher::new(vec!["b".into(), "ab".into()], StopText::Drop);
    matcher.push("xa".into());
    assert_eq!(matcher.found(), None);
    matcher.push("bc".into());
    assert_eq!(matcher.found(), Some("ab"));
}

#[test]
fn gives_back_what_turned_out_to_be_no_stop_string() {
    assert_eq!(
        run(&["aab"], StopText::Drop, &["a", "a", "a", "c"]),
        ("aaac".into(), false)
    );
}

#[test]
fn keeps_text_flowing_when_the_stop_string_is_kept() {
    let mut matcher = StopMatcher::new(vec!["ab".into()], StopText::Keep);
    assert_eq!(
        matcher.push("xa".into()),
        Released {
            text: "xa".into(),
            stopped: false
        }
    );
    assert_eq!(
        matcher.push("bc".into()),
        Released {
            text: "b".into(),
            stopped: true
        }
    );
}

#[test]
fn holds_back_no_more_than_a_match_needs() {
    let mut matcher = StopMatcher::new(vec!["abc".into()], StopText::Drop);
    assert_eq!(matcher.push("xxab".into()).text, "xx");
    assert_eq!(matcher.push("ab".into()).text, "ab");
    assert_eq!(matcher.finish(), "ab");
}

#[test]
fn without_stop_strings_text_passes_through() {
    assert_eq!(
        run(&[], StopText::Drop, &["a", "", "b"]),
        ("ab".into(), false)
    );
}

/// Characters that share bytes, so that matches could begin inside one.
fn text(max: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop::sample::select(vec!['a', 'b', 'é', '€', '₭', '😀', '😁']),
        0..max,
    )
    .prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn equals_the_rule_however_the_text_is_cut(
        pieces in proptest::collection::vec(text(5), 0..12),
        stops in proptest::collection::vec(text(5).prop_filter("empty", |s| !s.is_empty()), 0..4),
        keep in any::<bool>(),
    ) {
        let mode = if keep { StopText::Keep } else { StopText::Drop };
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
        prop_assert_eq!(run(&stops, mode, &pieces), naive(&stops, mode, &pieces.concat()));
    }
}
