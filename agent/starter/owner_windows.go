package starter

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// ErrOthers is what [CheckOwner] finds.
var ErrOthers = errors.New("who owns it may always give himself access")

// CheckOwner gives [ErrOthers] if a file or a directory, or the link in its place, belongs to anybody but the system, its
// administrators and the agent: access lists do not bind an owner.
func CheckOwner(path string) error {
	owner, err := ownerOf(path)
	if err != nil {
		return fmt.Errorf("find out whose %s is: %w", path, err)
	}
	u, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return fmt.Errorf("read the user of this process: %w", err)
	}
	if mayOwn(owner, u.User.Sid) {
		return nil
	}
	name := owner.String()
	if account, domain, _, err := owner.LookupAccount(""); err == nil {
		name = domain + `\` + account
	}
	return fmt.Errorf("%s belongs to %s: %w", path, name, ErrOthers)
}

// mayOwn reports whether what belongs to owner is safe from others than those that may do everything.
func mayOwn(owner, agent *windows.SID) bool {
	return owner.IsWellKnown(windows.WinLocalSystemSid) || owner.IsWellKnown(windows.WinBuiltinAdministratorsSid) || owner.Equals(agent)
}

func ownerOf(path string) (*windows.SID, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	const (
		all = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
		// A directory, too, and a link as it is.
		flags = windows.FILE_FLAG_BACKUP_SEMANTICS | windows.FILE_FLAG_OPEN_REPARSE_POINT
	)
	h, err := windows.CreateFile(name, windows.READ_CONTROL, all, nil, windows.OPEN_EXISTING, flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer windows.CloseHandle(h)
	sd, err := windows.GetSecurityInfo(h, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return nil, err
	}
	owner, _, err := sd.Owner()
	if err == nil && owner == nil {
		err = errors.New("it has no owner")
	}
	return owner, err
}
