// Package session knows the desktop sessions of this machine: which there are, as logind tells, and
// when somebody last used one, as the session's own servers tell a helper.
//
// A Wayland compositor and a session bus talk to their user only. So the agent has a helper in each
// user's place: this program executed again, which takes on that user's rights for good before it looks
// at anything, may start no program and gain no right, and knows nothing of the agent but one socket
// without a name. Over that it sends messages of a fixed size, which say that there is input or for how
// long there has been none. What was typed, and into what, it neither asks for nor could say. The agent
// believes it as far as it would believe the user: that somebody is there, or is not.
//
// [MaybeHelper] must be called first thing by every program that runs helpers. Whether a session
// counts as its owner at work is not decided here.
package session
