//! The composition root: builds every component from the configuration, joins them, and owns every long task.

mod seams;
