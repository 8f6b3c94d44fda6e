// Package x11 is as much of an X client as it takes to know when somebody used a display: the
// connection, alarms on the time since the last input, and the older way of asking for that time.
//
// The server says that there was input and when, never what, and no window, key or picture is ever
// asked for. What a server sends is not trusted: messages are bounded, and one that sends them
// without end is cut off. A whole binding brings goroutines and buffers that an idle agent should not
// have, and finds the cookie through this process's environment, where a service has none.
package x11
