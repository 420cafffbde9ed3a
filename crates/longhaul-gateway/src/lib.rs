//! Models, the targets behind them, and the port through which tasks call them.
