//! What a screen shows.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyEvent;

use super::*;
use crate::client::End;

fn screen(view: &View, running: &Tally, (width, height): (u16, u16)) -> String {
    let mut terminal =
        Terminal::new(TestBackend::new(width, height)).expect("memory is no terminal");
    terminal
        .draw(|frame| view.draw(frame, running))
        .expect("memory takes all");
    terminal.backend().to_string()
}

#[test]
fn all_parts_are_on_a_screen_of_the_usual_size() {
    let mut running = Tally::new(16, 2);
    let end = End {
        text: String::new(),
        prompt_tokens: 100,
        cached_tokens: 80,
        generated_tokens: 7,
    };
    let ms = Duration::from_millis;
    running.add(1, ms(12), ms(90), &end);
    running.itl.add(ms(3));
    let mut view = View {
        title: "a model".to_owned(),
        done: vec![Tally::new(4, 2)],
        ..View::default()
    };
    view.observe(10);
    let screen = screen(&view, &running, (110, 30));
    for part in [
        "a model",
        "Levels",
        "streams",
        "TTFT p50",
        "ITL p99",
        "Turns",
        "TTFT (ms)",
        "ITL (ms)",
        "Throughput (tokens/s)",
        "q quits",
        "12.0",
        "80%",
    ] {
        assert!(screen.contains(part), "{part} is not in\n{screen}");
    }
}

#[test]
fn a_tiny_screen_is_no_reason_to_fail() {
    for size in [(1, 1), (10, 3), (40, 12)] {
        screen(&View::default(), &Tally::new(1, 1), size);
    }
}

#[test]
fn the_keys_that_quit() {
    let press = |code, modifiers| wish(&Event::Key(KeyEvent::new(code, modifiers)));
    assert_eq!(press(KeyCode::Char('q'), KeyModifiers::NONE), Wish::Quit);
    assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Wish::Quit);
    assert_eq!(
        press(KeyCode::Char('c'), KeyModifiers::NONE),
        Wish::Continue
    );
    assert_eq!(wish(&Event::FocusGained), Wish::Continue);
}

#[test]
fn throughput_begins_anew_with_a_level() {
    let mut view = View::default();
    for tokens in [5, 8, 2] {
        view.observe(tokens);
    }
    assert_eq!(view.rates, [20, 12, 8]);
}
