//! Tests against recorded events and real servers.
