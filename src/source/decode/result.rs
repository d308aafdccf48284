//! Binary result rows to cells.
