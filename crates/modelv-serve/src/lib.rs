//! modelv-serve
