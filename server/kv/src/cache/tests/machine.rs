//! A small machine with real cells, whose every cell the cache is held to.

use crate::cache::{Copy, PageCache, SequenceId};
use prefix_tree::Segment;

/// Domain and token; its position in the sequence is its third coordinate.
pub(super) type Token = (u64, u32);
type Cell = Option<(u64, u32, usize)>;

pub(super) struct Running {
    pub(super) id: SequenceId,
    /// The whole text; the sequence computes it from the cached prefix on.
    pub(super) text: Vec<Token>,
}

pub(super) struct Machine {
    pub(super) cache: PageCache,
    cells: Vec<Vec<Cell>>,
    pub(super) running: Vec<Running>,
}

fn spans(text: &[Token]) -> Vec<(u64, Vec<u32>)> {
    text.chunk_by(|a, b| a.0 == b.0)
        .map(|run| (run[0].0, run.iter().map(|&(_, token)| token).collect()))
        .collect()
}

fn path(spans: &[(u64, Vec<u32>)]) -> Vec<Segment<'_>> {
    spans
        .iter()
        .map(|(domain, tokens)| Segment {
            domain: *domain,
            tokens,
        })
        .collect()
}

impl Machine {
    pub(super) fn new(num_pages: u32, page_tokens: usize, enabled: bool) -> Self {
        Self {
            cache: PageCache::new(num_pages, page_tokens, enabled),
            cells: vec![vec![None; page_tokens]; num_pages as usize],
            running: Vec::new(),
        }
    }

    pub(super) fn open(&mut self, text: Vec<Token>, limit: usize) -> usize {
        let id = self.cache.open(&path(&spans(&text)), limit);
        let cached = self.cache.cached_tokens(id).expect("open");
        assert!(cached <= limit.min(text.len()));
        self.running.push(Running { id, text });
        cached
    }

    /// Reserves, and holds the cache to its word: it succeeds exactly when the pages are free or cached,
    /// and a refusal changes nothing.
    pub(super) fn reserve(&mut self, id: SequenceId, end: usize) -> Option<Vec<Copy>> {
        let sequence = &self.cache.sequences[&id];
        let (table, before) = (sequence.table.clone(), self.cache.counts());
        let evictions = self.cache.evictions();
        let new = end
            .div_ceil(self.cache.page_tokens)
            .saturating_sub(table.len());
        let copied = usize::from(sequence.tail_is_shared && end > sequence.reserved);
        let copies = self.cache.reserve(id, end).expect("open");
        assert_eq!(
            copies.is_some(),
            new + copied <= before.free + before.cached
        );
        if copies.is_none() {
            assert_eq!(table, self.cache.pages(id).expect("open"));
            assert_eq!(
                (before, evictions),
                (self.cache.counts(), self.cache.evictions())
            );
        }
        copies
    }

    /// A plan that is dropped: pages are reserved, but copies never made; the sequence is closed.
    pub(super) fn abandon(&mut self, chunks: &[(usize, usize)]) {
        let mut abandoned = Vec::new();
        for &(index, length) in chunks {
            let sequence = &self.running[index % self.running.len()];
            let start = self.cache.committed_tokens(sequence.id).expect("open");
            let (id, end) = (sequence.id, (start + length).min(sequence.text.len()));
            self.reserve(id, end);
            abandoned.push(id);
        }
        while let Some(index) = self.running.iter().position(|s| abandoned.contains(&s.id)) {
            self.close(index);
        }
    }

    /// One engine step: all reserve, then the copies, then the writes, then the commits. A failed
    /// step writes rubbish and commits nothing.
    pub(super) fn step(&mut self, chunks: &[(usize, usize)], fails: bool) {
        let mut copies = Vec::new();
        let mut planned: Vec<(usize, usize, usize)> = Vec::new();
        for &(index, length) in chunks {
            let index = index % self.running.len();
            if planned.iter().any(|&(other, ..)| other == index) {
                continue;
            }
            let sequence = &self.running[index];
            let start = self.cache.committed_tokens(sequence.id).expect("open");
            let end = (start + length).min(sequence.text.len());
            if let Some(new) = self.reserve(sequence.id, end) {
                copies.extend(new);
                planned.push((index, start, end));
            }
        }
        for (source, destination) in copies {
            self.cells[destination as usize] = self.cells[source as usize].clone();
        }
        for &(index, start, end) in &planned {
            self.write(index, start, end, fails);
        }
        for &(index, start, end) in planned.iter().filter(|_| !fails) {
            let sequence = &self.running[index];
            let spans = spans(&sequence.text[start..end]);
            self.cache
                .commit(sequence.id, &path(&spans))
                .expect("reserved");
        }
    }

    fn write(&mut self, index: usize, start: usize, end: usize, rubbish: bool) {
        let sequence = &self.running[index];
        let table = self.cache.pages(sequence.id).expect("open");
        let page_tokens = self.cache.page_tokens();
        for position in start..end {
            let (domain, token) = sequence.text[position];
            let cell = if rubbish {
                (9, 9, 9)
            } else {
                (domain, token, position)
            };
            self.cells[table[position / page_tokens] as usize][position % page_tokens] = Some(cell);
        }
    }

    pub(super) fn close(&mut self, index: usize) {
        let sequence = self.running.swap_remove(index % self.running.len());
        self.cache.close(sequence.id).expect("open");
    }

    /// Every committed cell of every open sequence reads back as it was computed.
    pub(super) fn verify(&self) -> Result<(), String> {
        self.cache.check()?;
        let page_tokens = self.cache.page_tokens();
        for sequence in &self.running {
            let committed = self.cache.committed_tokens(sequence.id).expect("open");
            let table = self.cache.pages(sequence.id).expect("open");
            for (position, &(domain, token)) in sequence.text[..committed].iter().enumerate() {
                let page = table[position / page_tokens] as usize;
                let cell = self.cells[page][position % page_tokens];
                if cell != Some((domain, token, position)) {
                    return Err(format!(
                        "position {position} reads {cell:?} from page {page}"
                    ));
                }
            }
        }
        Ok(())
    }

    pub(super) fn compute(&mut self, text: &[Token]) -> usize {
        let cached = self.open(text.to_vec(), text.len().saturating_sub(1));
        let index = self.running.len() - 1;
        self.step(&[(index, text.len())], false);
        self.verify().expect("sound");
        self.close(index);
        cached
    }
}
