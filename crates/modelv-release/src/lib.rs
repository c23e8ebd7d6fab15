//! modelv-release
