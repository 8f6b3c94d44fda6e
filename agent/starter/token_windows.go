package starter

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"

	"skua/internal/job"
)

// A job runs with a restricted token: of all that its account may touch, it may only touch what is granted
// besides to everybody, to all users of the machine, or to its own claim. Its integrity is low, so it cannot
// write where that is not asked for, and it has no privileges. The account is the agent's, or LocalService
// where the agent is LocalSystem: a job never is.

var (
	advapi32              = windows.NewLazySystemDLL("advapi32.dll")
	createRestrictedToken = advapi32.NewProc("CreateRestrictedToken")
	logonUser             = advapi32.NewProc("LogonUserW")
)

// claimSID is the identity to which a claim's own files are granted. It is nobody's account.
func claimSID(claim job.ClaimID) string {
	h := sha256.Sum256([]byte("skua claim " + string(claim)))
	return fmt.Sprintf("S-1-9-%d-%d-%d-%d", binary.BigEndian.Uint32(h[:]), binary.BigEndian.Uint32(h[4:]),
		binary.BigEndian.Uint32(h[8:]), binary.BigEndian.Uint32(h[12:]))
}

// jobToken makes the token of a claim's jobs.
func jobToken(claim job.ClaimID) (windows.Token, error) {
	base, err := jobAccount()
	if err != nil {
		return 0, err
	}
	defer base.Close()
	t, err := restrict(base, claimSID(claim))
	if err != nil {
		return 0, fmt.Errorf("restrict the token of jobs: %w", err)
	}
	return t, nil
}

// jobAccount opens the token that is to be restricted.
func jobAccount() (windows.Token, error) {
	system, err := isSystem(windows.GetCurrentProcessToken())
	if err != nil {
		return 0, err
	}
	if system {
		return localService()
	}
	var t windows.Token
	err = windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_DUPLICATE|windows.TOKEN_QUERY|
		windows.TOKEN_ASSIGN_PRIMARY|windows.TOKEN_ADJUST_DEFAULT, &t)
	return t, os.NewSyscallError("OpenProcessToken", err)
}

// isSystem says whether a token is LocalSystem's.
func isSystem(t windows.Token) (bool, error) {
	u, err := t.GetTokenUser()
	if err != nil {
		return false, fmt.Errorf("read the user of a token: %w", err)
	}
	return u.User.Sid.IsWellKnown(windows.WinLocalSystemSid), nil
}

// localService logs on the account for services that need little. Only LocalSystem can, without a password.
func localService() (windows.Token, error) {
	const logonService, providerDefault = 5, 0
	name, _ := windows.UTF16PtrFromString("LocalService") // without zero bytes
	domain, _ := windows.UTF16PtrFromString("NT AUTHORITY")
	var t windows.Token
	ok, _, err := logonUser.Call(uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(domain)), 0,
		logonService, providerDefault, uintptr(unsafe.Pointer(&t)))
	if ok == 0 {
		return 0, fmt.Errorf("log on LocalService: %w", err)
	}
	return t, nil
}

// restrict gives a primary token for a job whose own identity is sid.
func restrict(base windows.Token, sid string) (_ windows.Token, err error) {
	own, err := windows.StringToSid(sid)
	if err != nil {
		return 0, fmt.Errorf("identity %s: %w", sid, err)
	}
	groups, err := base.GetTokenGroups()
	if err != nil {
		return 0, fmt.Errorf("read the groups of a token: %w", err)
	}
	user, err := base.GetTokenUser()
	if err != nil {
		return 0, fmt.Errorf("read the user of a token: %w", err)
	}
	restricting := []windows.SIDAndAttributes{{Sid: own}}
	for _, kind := range []windows.WELL_KNOWN_SID_TYPE{windows.WinWorldSid, windows.WinBuiltinUsersSid, windows.WinRestrictedCodeSid} {
		s, err := windows.CreateWellKnownSid(kind)
		if err != nil {
			return 0, fmt.Errorf("well-known identity %d: %w", kind, err)
		}
		restricting = append(restricting, windows.SIDAndAttributes{Sid: s})
	}
	var denied []windows.SIDAndAttributes
	for _, g := range groups.AllGroups() {
		switch {
		case g.Attributes&windows.SE_GROUP_INTEGRITY != 0:
		case g.Attributes&windows.SE_GROUP_LOGON_ID == windows.SE_GROUP_LOGON_ID:
			// Programs need it to have windows at all, which nobody sees: the job object keeps them apart.
			restricting = append(restricting, windows.SIDAndAttributes{Sid: g.Sid})
		case g.Sid.IsWellKnown(windows.WinWorldSid), g.Sid.IsWellKnown(windows.WinBuiltinUsersSid),
			g.Sid.IsWellKnown(windows.WinAuthenticatedUserSid):
		default:
			denied = append(denied, windows.SIDAndAttributes{Sid: g.Sid})
		}
	}
	const disableMaxPrivilege = 1
	var t windows.Token
	var deny *windows.SIDAndAttributes
	if len(denied) > 0 {
		deny = &denied[0]
	}
	ok, _, err := createRestrictedToken.Call(uintptr(base), disableMaxPrivilege,
		uintptr(len(denied)), uintptr(unsafe.Pointer(deny)), 0, 0,
		uintptr(len(restricting)), uintptr(unsafe.Pointer(&restricting[0])), uintptr(unsafe.Pointer(&t)))
	if ok == 0 {
		return 0, os.NewSyscallError("CreateRestrictedToken", err)
	}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	if err = lowerIntegrity(t); err != nil {
		return 0, err
	}
	// What the job makes and says nothing about is its own.
	if err = setDefaultDACL(t, fmt.Sprintf("D:(A;;GA;;;SY)(A;;GA;;;%s)(A;;GA;;;%s)", user.User.Sid, sid)); err != nil {
		return 0, err
	}
	return t, nil
}

func lowerIntegrity(t windows.Token) error {
	low, err := windows.CreateWellKnownSid(windows.WinLowLabelSid)
	if err != nil {
		return fmt.Errorf("low integrity: %w", err)
	}
	label := windows.Tokenmandatorylabel{Label: windows.SIDAndAttributes{Sid: low, Attributes: windows.SE_GROUP_INTEGRITY}}
	if err := windows.SetTokenInformation(t, windows.TokenIntegrityLevel, (*byte)(unsafe.Pointer(&label)), label.Size()); err != nil {
		return fmt.Errorf("lower the integrity of jobs: %w", err)
	}
	return nil
}

func setDefaultDACL(t windows.Token, sddl string) error {
	sd, err := windows.SecurityDescriptorFromString(sddl)
	if err != nil {
		return fmt.Errorf("access list %s: %w", sddl, err)
	}
	dacl, _, err := sd.DACL()
	if err != nil {
		return fmt.Errorf("access list %s: %w", sddl, err)
	}
	info := struct{ dacl *windows.ACL }{dacl} // TOKEN_DEFAULT_DACL
	if err := windows.SetTokenInformation(t, windows.TokenDefaultDacl, (*byte)(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info))); err != nil {
		return fmt.Errorf("default access list of jobs: %w", err)
	}
	return nil
}

// CloseDir keeps a directory, and what is and will be in it, to the system, its administrators and the agent.
func CloseDir(path string) error { return keepDir(path, "") }

// ShowDir lets all users of the machine, and jobs, read a directory and what is and will be in it. Whoever
// [CloseDir] would keep it to may do everything.
func ShowDir(path string) error { return keepDir(path, "(A;OICI;FRFX;;;BU)") }

// keepDir gives a directory the access list of whoever may always do everything and of others, and nothing that it
// would inherit. What is in it follows, but for what has a list of its own as the claims have.
func keepDir(path, others string) error {
	list, err := agentsOwn()
	if err != nil {
		return err
	}
	return setAccess(path, "D:P"+list+others, windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION)
}

// openDir gives a directory, and what will be in it, to a claim's jobs besides.
func openDir(path string, claim job.ClaimID) error {
	list, err := agentsOwn()
	if err != nil {
		return err
	}
	if system, err := isSystem(windows.GetCurrentProcessToken()); err != nil {
		return err
	} else if system {
		list += "(A;OICI;FA;;;LS)" // the account: nothing is granted by the claim's identity alone
	}
	list += "(A;OICI;FA;;;" + claimSID(claim) + ")"
	if err := setAccess(path, "D:P"+list, windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION); err != nil {
		return err
	}
	// This only grants something, to the low integrity of jobs. Where it cannot be had, as under Wine, either no
	// label is looked at, or the self test finds that a job cannot write.
	_ = setAccess(path, "S:(ML;OICI;NW;;;LW)", windows.LABEL_SECURITY_INFORMATION)
	return nil
}

// agentsOwn are the entries of whoever may always do everything.
func agentsOwn() (string, error) {
	u, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return "", fmt.Errorf("read the user of this process: %w", err)
	}
	return "(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;" + u.User.Sid.String() + ")", nil
}

func setAccess(path, sddl string, what windows.SECURITY_INFORMATION) error {
	sd, err := windows.SecurityDescriptorFromString(sddl)
	if err != nil {
		return fmt.Errorf("access list %s: %w", sddl, err)
	}
	var dacl, sacl *windows.ACL
	if what&windows.DACL_SECURITY_INFORMATION != 0 {
		dacl, _, err = sd.DACL()
	} else {
		sacl, _, err = sd.SACL()
	}
	if err == nil {
		err = windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, what, nil, nil, dacl, sacl)
	}
	if err != nil {
		return fmt.Errorf("set access to %s: %w", path, err)
	}
	return nil
}
