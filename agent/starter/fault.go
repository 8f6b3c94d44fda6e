package starter

import (
	"errors"
	"slices"
	"syscall"
)

// errMachine is the kind of an init's error that [MachineFault] holds for.
var errMachine = errors.New("the machine could not do it")

// machineErrnos say nothing about the job: another machine could do the same, or this one later.
var machineErrnos = []syscall.Errno{
	syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.ESTALE, syscall.ENOTCONN, // its disks
	syscall.ENOMEM, syscall.EAGAIN, syscall.EMFILE, syscall.ENFILE, syscall.ETXTBSY, syscall.EINTR, // what it has left
}

// MachineFault says whether an error is the machine's, such as one of its disk, rather than the job's.
func MachineFault(err error) bool {
	var errno syscall.Errno
	return errors.Is(err, errMachine) || errors.As(err, &errno) && slices.Contains(machineErrnos, errno)
}
