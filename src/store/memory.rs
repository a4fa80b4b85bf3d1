//! SQLite takes its memory where the rest of the program does. In a static build its own way would be musl's malloc, which
//! maps and unmaps pages a dozen times a message.
#![allow(unsafe_code)] // SQLite's interface is pointers; each function says what it relies on

use std::alloc::{alloc, dealloc, realloc, Layout};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Once;

use rusqlite::ffi;

/// Before each piece stands its size; pieces begin at multiples of this (SQLite asks for 8).
const HEAD: usize = 16;

/// Must come before the first use of SQLite. Does nothing where the system's malloc is good.
pub fn share() {
    static ONCE: Once = Once::new();
    if cfg!(target_env = "musl") {
        ONCE.call_once(install);
    }
}

fn install() {
    let methods = ffi::sqlite3_mem_methods {
        xMalloc: Some(take),
        xFree: Some(give),
        xRealloc: Some(change),
        xSize: Some(size),
        xRoundup: Some(rounded),
        xInit: Some(begin),
        xShutdown: Some(end),
        pAppData: null_mut(),
    };
    // SAFETY: SQLite is not in use yet, and copies the methods.
    let code = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &methods) };
    debug_assert_eq!(code, ffi::SQLITE_OK, "it was in use; it keeps its own memory then");
}

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(HEAD)?, HEAD).ok()
}

/// `base` is null or the beginning of a piece with its head.
fn headed(base: *mut u8, bytes: usize) -> *mut c_void {
    if base.is_null() {
        return null_mut();
    }
    // SAFETY: the head is part of the piece and aligned.
    unsafe {
        base.cast::<usize>().write(bytes);
        base.add(HEAD).cast()
    }
}

unsafe extern "C" fn take(bytes: c_int) -> *mut c_void {
    let Some(bytes) = usize::try_from(bytes).ok().filter(|n| *n > 0) else { return null_mut() };
    // SAFETY: the layout is not empty.
    layout(bytes).map_or(null_mut(), |l| headed(unsafe { alloc(l) }, bytes))
}

/// SAFETY: `piece` comes from [`take`] or [`change`] and was not given back.
unsafe fn base(piece: *mut c_void) -> (*mut u8, usize) {
    let base = piece.cast::<u8>().sub(HEAD);
    (base, base.cast::<usize>().read())
}

unsafe extern "C" fn give(piece: *mut c_void) {
    if !piece.is_null() {
        let (base, bytes) = base(piece);
        dealloc(base, Layout::from_size_align_unchecked(bytes + HEAD, HEAD));
    }
}

unsafe extern "C" fn change(piece: *mut c_void, bytes: c_int) -> *mut c_void {
    let Some(bytes) = usize::try_from(bytes).ok().filter(|n| *n > 0) else { return null_mut() };
    let (base, old) = base(piece);
    let was = Layout::from_size_align_unchecked(old + HEAD, HEAD);
    layout(bytes).map_or(null_mut(), |l| headed(realloc(base, was, l.size()), bytes))
}

unsafe extern "C" fn size(piece: *mut c_void) -> c_int {
    match piece.is_null() {
        true => 0,
        false => base(piece).1 as c_int, // it was one when it was asked for
    }
}

unsafe extern "C" fn rounded(bytes: c_int) -> c_int {
    bytes.saturating_add(7) & !7
}

unsafe extern "C" fn begin(_: *mut c_void) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn end(_: *mut c_void) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_size_and_content() {
        // SAFETY: every piece is given back once.
        unsafe {
            let piece = take(100);
            assert_eq!((size(piece), piece as usize % 8), (100, 0));
            piece.cast::<u8>().write_bytes(7, 100);
            let piece = change(piece, 5000);
            assert_eq!((size(piece), *piece.cast::<u8>().add(99)), (5000, 7));
            let piece = change(piece, 10);
            assert_eq!((size(piece), *piece.cast::<u8>().add(9)), (10, 7));
            give(piece);
            give(null_mut());
            assert!(take(0).is_null() && take(-1).is_null());
            assert_eq!((size(null_mut()), rounded(1), rounded(8), rounded(c_int::MAX) % 8), (0, 8, 8, 0));
        }
    }
}
