//! Obeys a plan: journal first, then the call, then the look.
