//! Capture of what is around the files.
