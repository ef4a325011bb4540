//! The memory that a ring's frames lie in, and the ring of entries by which it is lent to the kernel.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use nix::errno::Errno;

/// A buffer ring must begin on a page (`io_uring_register_buf_ring(3)`), and no page is larger.
const PAGE: usize = 65_536;

/// The buffers themselves, apart from each other: the kernel writes to some while we look at others.
pub(super) struct Memory {
    base: NonNull<u8>,
    layout: Layout,
    size: usize,
}

impl Memory {
    pub(super) fn new(buffers: usize, size: usize) -> Result<Self, Errno> {
        let layout = Layout::array::<u8>(buffers * size).map_err(|_| Errno::EINVAL)?;
        if layout.size() == 0 {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the layout has a size.
        let memory = unsafe { alloc_zeroed(layout) };
        let base = NonNull::new(memory).ok_or(Errno::ENOMEM)?;
        Ok(Self { base, layout, size })
    }

    pub(super) fn buffer(&mut self, at: usize) -> Option<&mut [u8]> {
        let start = at.checked_mul(self.size)?;
        if start.checked_add(self.size)? > self.layout.size() {
            return None;
        }
        // SAFETY: the buffer lies within the allocation.
        let base = unsafe { self.base.add(start) };
        // SAFETY: it is initialised, and whoever asks for a buffer that the kernel writes to only passes on its address.
        Some(unsafe { std::slice::from_raw_parts_mut(base.as_ptr(), self.size) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `base` was allocated with this layout and nothing else frees it.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// The ring through which buffers are lent: entries, then a tail that only we move.
pub(super) struct Provided {
    pub(super) entries: u16,
    base: NonNull<BufRingEntry>,
    layout: Layout,
    tail: u16,
}

impl Provided {
    pub(super) fn new(entries: u16) -> Result<Self, Errno> {
        let layout = Layout::array::<BufRingEntry>(entries.into())
            .and_then(|layout| layout.align_to(PAGE))
            .map_err(|_| Errno::EINVAL)?;
        // SAFETY: the layout has a size, because the caller wants at least one entry.
        let memory = unsafe { alloc_zeroed(layout) };
        let base = NonNull::new(memory.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Self {
            entries,
            base,
            layout,
            tail: 0,
        })
    }

    pub(super) fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    pub(super) fn add(&mut self, buffer: u16, bytes: &mut [u8]) {
        let at = usize::from(self.tail & (self.entries - 1));
        // SAFETY: `at` is below `entries`, which is how many the memory holds.
        let entry = unsafe { self.base.add(at) };
        // SAFETY: the kernel reads no entry beyond the tail that was published, and nobody else writes any.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(bytes.as_mut_ptr() as u64);
        entry.set_len(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    pub(super) fn publish(&self) {
        // SAFETY: `base` is the address of the first entry of this ring.
        let tail = unsafe { BufRingEntry::tail(self.base.as_ptr()) };
        // SAFETY: the tail is an aligned u16 that lives as long as the ring and that the kernel only reads.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Provided {
    fn drop(&mut self) {
        // SAFETY: `base` was allocated with this layout and nothing else frees it.
        unsafe { dealloc(self.base.as_ptr().cast(), self.layout) };
    }
}
