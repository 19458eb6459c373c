//! Loss, optimizer, epoch loop, resume.
