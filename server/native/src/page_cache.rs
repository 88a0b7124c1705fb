//! `PageCache` and `PageCounts`.

use std::sync::Arc;

use kv::{CacheError, Reserve, Segment, SequenceId};
use pyo3::exceptions::{PyAssertionError, PyIndexError, PyValueError};
use pyo3::prelude::*;

use crate::buffer::{Items, view};
use crate::page_pool::PagePool;
use crate::unsigned::Unsigned;

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
pub(crate) struct PageCache {
    cache: kv::PageCache,
    reserve: Reserve,
}

fn raised(error: CacheError) -> PyErr {
    let text = error.to_string();
    match error {
        CacheError::UnknownSequence(_) => PyIndexError::new_err(text),
        CacheError::NotReserved { .. } | CacheError::AlreadyReserved(_) => {
            PyValueError::new_err(text)
        }
    }
}

/// A path as the border gives it.
struct Path {
    tokens: Items<u32>,
    spans: Vec<(u64, usize)>,
}

impl Path {
    fn new(tokens: &Bound<'_, PyAny>, domains: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (tokens, domains) = (
            Items::new("tokens", tokens)?,
            Items::new("domains", domains)?,
        );
        let (pairs, rest) = domains.as_slice().as_chunks();
        if !rest.is_empty() || pairs.iter().any(|&[_, length]| length == 0) {
            let text = "domains must be pairs of (domain, length above 0)";
            return Err(PyValueError::new_err(text));
        }
        let covered = pairs
            .iter()
            .fold(0u64, |sum, [_, length]| sum.saturating_add(*length));
        let length = tokens.as_slice().len();
        if covered != length as u64 {
            let text = format!("domains cover {covered} tokens, there are {length}");
            return Err(PyValueError::new_err(text));
        }
        let spans = pairs
            .iter()
            .map(|&[domain, length]| (domain, length as usize))
            .collect();
        Ok(Self { tokens, spans })
    }

    fn segments(&self) -> Vec<Segment<'_>> {
        let mut rest = self.tokens.as_slice();
        let mut segments = Vec::with_capacity(self.spans.len());
        for &(domain, length) in &self.spans {
            let (tokens, behind) = rest.split_at(length);
            segments.push(Segment { domain, tokens });
            rest = behind;
        }
        segments
    }
}

#[pymethods]
impl PageCache {
    #[new]
    #[pyo3(signature = (pool, page_tokens, enabled = true))]
    fn new(pool: &PagePool, page_tokens: Unsigned<usize>, enabled: bool) -> PyResult<Self> {
        if page_tokens.0 == 0 {
            return Err(PyValueError::new_err(
                "page_tokens is 0, expected at least 1",
            ));
        }
        Ok(Self {
            cache: kv::PageCache::new(pool.num_pages(), page_tokens.0, enabled),
            reserve: Reserve::new(Arc::clone(&pool.0)),
        })
    }

    #[getter]
    fn page_tokens(&self) -> usize {
        self.cache.page_tokens()
    }

    fn open(
        &mut self,
        tokens: &Bound<'_, PyAny>,
        domains: &Bound<'_, PyAny>,
        limit: Unsigned<usize>,
    ) -> PyResult<SequenceId> {
        let path = Path::new(tokens, domains)?;
        Ok(self.cache.open(&path.segments(), limit.0))
    }

    fn rematch(&mut self, sequence: Unsigned<SequenceId>) -> PyResult<usize> {
        self.cache.rematch(sequence.0).map_err(raised)
    }

    fn cached_tokens(&self, sequence: Unsigned<SequenceId>) -> PyResult<usize> {
        self.cache.cached_tokens(sequence.0).map_err(raised)
    }

    fn committed_tokens(&self, sequence: Unsigned<SequenceId>) -> PyResult<usize> {
        self.cache.committed_tokens(sequence.0).map_err(raised)
    }

    fn node(&self, sequence: Unsigned<SequenceId>) -> PyResult<u64> {
        self.cache.node(sequence.0).map_err(raised)
    }

    fn reserve(
        &mut self,
        sequence: Unsigned<SequenceId>,
        length: Unsigned<usize>,
    ) -> PyResult<Option<Vec<kv::Copy>>> {
        self.cache.reserve(sequence.0, length.0).map_err(raised)
    }

    fn commit(
        &mut self,
        sequence: Unsigned<SequenceId>,
        tokens: &Bound<'_, PyAny>,
        domains: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let path = Path::new(tokens, domains)?;
        self.cache
            .commit(sequence.0, &path.segments())
            .map_err(raised)
    }

    fn pages<'py>(
        &self,
        py: Python<'py>,
        sequence: Unsigned<SequenceId>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let pages = self.cache.pages(sequence.0).map_err(raised)?;
        view(
            py,
            &pages.iter().map(|&page| page as i32).collect::<Vec<_>>(),
        )
    }

    fn num_pages(&self, sequence: Unsigned<SequenceId>) -> PyResult<usize> {
        Ok(self.cache.pages(sequence.0).map_err(raised)?.len())
    }

    fn close(&mut self, sequence: Unsigned<SequenceId>) -> PyResult<()> {
        self.cache.close(sequence.0).map_err(raised)
    }

    fn counts(&self) -> PageCounts {
        let kv::PageCounts {
            total,
            free,
            cached,
            referenced,
        } = self.cache.counts();
        PageCounts {
            total,
            free,
            cached,
            referenced,
        }
    }

    fn evictions(&self) -> u64 {
        self.cache.evictions()
    }

    fn grow_reserve(&mut self, py: Python<'_>) -> bool {
        let first_fresh = self.cache.first_fresh_page();
        let reserve = &mut self.reserve;
        py.detach(|| reserve.grow(first_fresh))
    }

    fn clear(&mut self) {
        self.cache.clear();
    }

    fn check(&self) -> PyResult<()> {
        self.cache.check().map_err(PyAssertionError::new_err)
    }
}
