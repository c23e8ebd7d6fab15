//! modelv-store
