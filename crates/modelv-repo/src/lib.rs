//! modelv-repo
