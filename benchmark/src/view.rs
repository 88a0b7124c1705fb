//! The terminal's picture of a run: levels, times by turn, histograms, throughput.

use std::time::Duration;

use anyhow::Result;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Stylize;
use ratatui::text::Line;
use ratatui::widgets::{Bar, BarChart, BarGroup, Block, Row, Sparkline, Table};
use ratatui::{DefaultTerminal, Frame};

use crate::report;
use crate::tally::{Tally, Times};

#[cfg(test)]
mod tests;

const FRAME: Duration = Duration::from_millis(250);
/// Seconds of throughput that are kept: more than any terminal is wide.
const HISTORY: usize = 1024;

/// What is drawn.
#[derive(Debug, Default)]
pub struct View {
    title: String,
    /// Levels that have ended.
    pub done: Vec<Tally>,
    rates: Vec<u64>,
    last: u64,
}

/// What the operator wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To look on.
    Continue,
    /// To end the run.
    Quit,
}

impl View {
    /// Without levels yet; the title names model and address.
    #[must_use]
    pub fn new(title: String) -> Self {
        Self {
            title,
            ..Self::default()
        }
    }

    /// Draws the levels and waits a frame's time for a key. Blocks: call it on a thread of its own.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn frame(&mut self, terminal: &mut DefaultTerminal, running: &Tally) -> Result<Wish> {
        self.observe(running.arrived_tokens);
        terminal.draw(|frame| self.draw(frame, running))?;
        if !event::poll(FRAME)? {
            return Ok(Wish::Continue);
        }
        Ok(wish(&event::read()?))
    }

    /// Notes how many tokens have come since the last frame.
    fn observe(&mut self, tokens: u64) {
        let new = tokens.checked_sub(self.last).unwrap_or(tokens);
        self.last = tokens;
        let frames = u64::try_from(1000 / FRAME.as_millis()).unwrap_or(1);
        if self.rates.len() == HISTORY {
            self.rates.remove(0);
        }
        self.rates.push(new * frames);
    }

    fn draw(&self, frame: &mut Frame<'_>, running: &Tally) {
        let levels = u16::try_from(self.done.len() + 4).unwrap_or(u16::MAX);
        let [title, table, middle, rates, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(levels),
            Constraint::Min(8),
            Constraint::Length(5),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let [turns, ttft, itl] = Layout::horizontal([Constraint::Fill(1); 3]).areas(middle);
        frame.render_widget(Line::from(self.title.as_str()).bold(), title);
        frame.render_widget(self.levels(running), table);
        frame.render_widget(by_turn(running), turns);
        frame.render_widget(histogram("TTFT (ms)", &running.ttft(), ttft), ttft);
        frame.render_widget(histogram("ITL (ms)", &running.itl, itl), itl);
        frame.render_widget(self.throughput(rates), rates);
        let seconds = running.elapsed().as_secs();
        let hint = format!("{} running, {seconds} s   q quits", running.running);
        frame.render_widget(Line::from(hint).dim(), keys);
    }

    fn levels(&self, running: &Tally) -> Table<'static> {
        let rows = self.done.iter().map(|tally| Row::new(report::row(tally)));
        let rows = rows.chain([Row::new(report::row(running)).bold()]);
        Table::new(rows, [Constraint::Length(9); report::HEADINGS.len()])
            .header(Row::new(report::HEADINGS).underlined())
            .block(Block::bordered().title("Levels"))
    }

    fn throughput(&self, area: Rect) -> Sparkline<'_> {
        let width = usize::from(area.width.saturating_sub(2));
        let shown = &self.rates[self.rates.len().saturating_sub(width)..];
        Sparkline::default()
            .data(shown)
            .green()
            .block(Block::bordered().title("Throughput (tokens/s)"))
    }
}

/// Of the level that runs: how a conversation's turns differ.
fn by_turn(running: &Tally) -> Table<'static> {
    let rows = running.turns.iter().enumerate().map(|(index, turn)| {
        let ttft = turn.ttft.quantiles();
        let share = turn.cached_tokens * 100 / turn.prompt_tokens.max(1);
        Row::new([
            (index + 1).to_string(),
            turn.requests.to_string(),
            ttft.map_or_else(|| "-".to_owned(), |times| format!("{:.1}", times.p50)),
            format!("{share}%"),
        ])
    });
    Table::new(rows, [Constraint::Fill(1); 4])
        .header(Row::new(["turn", "requests", "TTFT", "cached"]).underlined())
        .block(Block::bordered().title("Turns"))
}

fn histogram(title: &'static str, times: &Times, area: Rect) -> BarChart<'static> {
    const BAR: u16 = 6;
    let room = area.width.saturating_sub(2) / (BAR + 1);
    let bars = times
        .bars(room.max(1).into())
        .into_iter()
        .map(|(edge, count)| Bar::default().value(count).label(format!("{edge:.1}")));
    BarChart::default()
        .data(BarGroup::default().bars(&bars.collect::<Vec<_>>()))
        .bar_width(BAR)
        .cyan()
        .block(Block::bordered().title(title))
}

fn wish(event: &Event) -> Wish {
    let Event::Key(key) = event else {
        return Wish::Continue;
    };
    let interrupts =
        key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    let quits = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || interrupts;
    match quits && key.kind == KeyEventKind::Press {
        true => Wish::Quit,
        false => Wish::Continue,
    }
}
