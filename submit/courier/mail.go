package courier

// notification says when a job's user wants mail about it; HTCondor's numbers.
type notification int

const (
	notifyNever    notification = 0
	notifyAlways   notification = 1
	notifyComplete notification = 2
	notifyError    notification = 3
)
