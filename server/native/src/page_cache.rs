//! `PageCache` and `PageCounts`.

use kv::{CacheError, Segment, SequenceId};
use pyo3::exceptions::{PyAssertionError, PyIndexError, PyValueError};
use pyo3::prelude::*;

use crate::buffer::{items, view};
use crate::page_pool::PagePool;

/// Pages by state.
#[pyclass(frozen, get_all, module = "text_generation_server._native")]
pub(crate) struct PageCounts {
    total: usize,
    free: usize,
    cached: usize,
    referenced: usize,
}

/// The prefix cache and the page tables of open sequences.
#[pyclass(module = "text_generation_server._native")]
pub(crate) struct PageCache(kv::PageCache);

fn raised(error: CacheError) -> PyErr {
    let text = error.to_string();
    match error {
        CacheError::UnknownSequence(_) => PyIndexError::new_err(text),
        CacheError::NotReserved { .. } | CacheError::AlreadyReserved(_) => PyValueError::new_err(text),
    }
}

/// A path as the border gives it.
struct Path {
    tokens: Vec<u32>,
    spans: Vec<u64>,
}

impl Path {
    fn new(tokens: &Bound<'_, PyAny>, domains: &Bound<'_, PyAny>) -> PyResult<Self> {
        let path = Self { tokens: items("tokens", tokens)?, spans: items("domains", domains)? };
        let lengths = path.spans.chunks(2).map(|span| span.get(1).copied().unwrap_or(0));
        let covered = lengths.fold(0u64, u64::saturating_add);
        if path.spans.len() % 2 != 0 || path.spans.chunks(2).any(|span| span[1] == 0) {
            return Err(PyValueError::new_err("domains must be pairs of (domain, length > 0)"));
        }
        if covered != path.tokens.len() as u64 {
            return Err(PyValueError::new_err(format!(
                "domains cover {covered} tokens, there are {}",
                path.tokens.len()
            )));
        }
        Ok(path)
    }

    fn segments(&self) -> Vec<Segment<'_>> {
        let mut rest = &self.tokens[..];
        let mut segments = Vec::with_capacity(self.spans.len() / 2);
        for span in self.spans.chunks_exact(2) {
            let (tokens, behind) = rest.split_at(span[1] as usize);
            segments.push(Segment { domain: span[0], tokens });
            rest = behind;
        }
        segments
    }
}

#[pymethods]
impl PageCache {
    #[new]
    #[pyo3(signature = (pool, page_tokens, enabled = true))]
    fn new(pool: &PagePool, page_tokens: usize, enabled: bool) -> PyResult<Self> {
        if page_tokens == 0 {
            return Err(PyValueError::new_err("page_tokens is 0, expected at least 1"));
        }
        Ok(Self(kv::PageCache::new(pool.num_pages(), page_tokens, enabled)))
    }

    #[getter]
    fn page_tokens(&self) -> usize {
        self.0.page_tokens()
    }

    fn open(
        &mut self,
        tokens: &Bound<'_, PyAny>,
        domains: &Bound<'_, PyAny>,
        limit: usize,
    ) -> PyResult<SequenceId> {
        let path = Path::new(tokens, domains)?;
        Ok(self.0.open(&path.segments(), limit))
    }

    fn rematch(&mut self, sequence: SequenceId) -> PyResult<usize> {
        self.0.rematch(sequence).map_err(raised)
    }

    fn cached_tokens(&self, sequence: SequenceId) -> PyResult<usize> {
        self.0.cached_tokens(sequence).map_err(raised)
    }

    fn committed_tokens(&self, sequence: SequenceId) -> PyResult<usize> {
        self.0.committed_tokens(sequence).map_err(raised)
    }

    fn node(&self, sequence: SequenceId) -> PyResult<u64> {
        self.0.node(sequence).map_err(raised)
    }

    fn reserve(&mut self, sequence: SequenceId, length: usize) -> PyResult<Option<Vec<kv::Copy>>> {
        self.0.reserve(sequence, length).map_err(raised)
    }

    fn commit(
        &mut self,
        sequence: SequenceId,
        tokens: &Bound<'_, PyAny>,
        domains: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let path = Path::new(tokens, domains)?;
        self.0.commit(sequence, &path.segments()).map_err(raised)
    }

    fn pages<'py>(&self, py: Python<'py>, sequence: SequenceId) -> PyResult<Bound<'py, PyAny>> {
        view(py, self.0.pages(sequence).map_err(raised)?, "i")
    }

    fn num_pages(&self, sequence: SequenceId) -> PyResult<usize> {
        Ok(self.0.pages(sequence).map_err(raised)?.len())
    }

    fn close(&mut self, sequence: SequenceId) -> PyResult<()> {
        self.0.close(sequence).map_err(raised)
    }

    fn counts(&self) -> PageCounts {
        let kv::PageCounts { total, free, cached, referenced } = self.0.counts();
        PageCounts { total, free, cached, referenced }
    }

    fn evictions(&self) -> u64 {
        self.0.evictions()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn check(&self) -> PyResult<()> {
        self.0.check().map_err(PyAssertionError::new_err)
    }
}
