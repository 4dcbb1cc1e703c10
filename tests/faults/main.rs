//! What Formgate promises while things go wrong: real processes, real sockets, real encryption.
//!
//! The oracle is two ledgers that the process cannot touch. One holds what people were told: the submission id in every
//! closing reply that a phone could open. The other holds what each destination got. The promise is that the first is a
//! part of what is stored and of the second, each submission under one idempotency key for ever; a delivery that arrives
//! twice under its key is allowed if there is a reason for it, and counted.
//!
//! A module for each fault, each with a control that must fail: the same run on a program that breaks its promise.
//! `FORMGATE_FAULT_FULL=1` takes the numbers of a release, `FORMGATE_FAULT_ROUNDS` any others; `FORMGATE_FAULT_SEED` repeats
//! the choices of a run.

mod clock;
mod cluster;
mod destinations;
mod disk;
mod drain;
mod entrusted;
mod ledger;
mod line;
mod oracle;
mod people;
mod points;
mod poison;
mod power;
mod process;
mod reasons;
mod repeats;
mod riddle;
mod run;
mod sink;
mod soak;
