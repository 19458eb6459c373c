//! What a run tells: log, metrics, figures, report page.
