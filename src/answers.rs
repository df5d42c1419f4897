//! Asks the name servers of a zone what they really answer.
