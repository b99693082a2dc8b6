//! `change`: one route changed by `apply` among 1,000, 10,000 and 100,000: CPU, bytes on the wire and
//! time until every proxy serves it. It judges nothing.
