// Package wayland is as much of a Wayland client as it takes to know when somebody used a desktop: the
// registry, and the two protocols by which compositors tell a user's own programs of idle times.
//
// Those are ext-idle-notify-v1 and, on older desktops, org_kde_kwin_idle. The compositor says that there
// was input and when, never what: no surface, keyboard or pointer is ever asked for. What it sends is
// bounded and not trusted.
package wayland
