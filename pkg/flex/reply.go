package flex

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The statuses. The kubelet tells them apart by case, too.
const (
	statusSuccess      = "Success"
	statusFailure      = "Failure"
	statusNotSupported = "Not supported"
)

// Reply is the one JSON object that answers a call.
type Reply struct {
	Status  string `json:"status"`
	Message string `json:"message,omitempty"`
	// Device is the answer of attach and waitforattach.
	Device *string `json:"device,omitempty"`
	// Capabilities are the answer of init.
	Capabilities *Capabilities `json:"capabilities,omitempty"`

	// quiet: the arguments held a secret, or may have. See Code.
	quiet bool
}

// Capabilities are what a driver can do. All five are always told: the kubelet has
// defaults of its own for what is missing.
type Capabilities struct {
	// Attach: the volume is attached and mounted for the node before it is bound
	// for a pod.
	Attach bool `json:"attach"`
	// SELinuxRelabel: the container runtime may set labels on the files.
	SELinuxRelabel bool `json:"selinuxRelabel"`
	// SupportsMetrics: statfs of the mount tells the volume's size, and returns.
	SupportsMetrics bool `json:"supportsMetrics"`
	// FSGroup: the kubelet may give the files to the pod's group.
	FSGroup bool `json:"fsGroup"`
	// RequiresFSResize: the kubelet calls expandfs after the volume was enlarged.
	RequiresFSResize bool `json:"requiresFSResize"`
}

// Write writes the reply as one line.
func (r Reply) Write(w io.Writer) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = w.Write(append(data, '\n'))
	return err
}

// Quiet tells that the arguments held secrets, or may have.
func (r Reply) Quiet() bool { return r.quiet }

// Code is the exit status that goes with the reply: 1 for a failure, but 0 when the
// arguments held secrets, because the kubelet logs all arguments of a call that
// exits otherwise. The status in the reply is what counts for it.
func (r Reply) Code() int {
	if r.Status == statusFailure && !r.quiet {
		return 1
	}
	return 0
}

// Fail is the reply to a call that could not even begin.
func Fail(err error) Reply {
	return Reply{Status: statusFailure, Message: printable(err.Error()), quiet: true}
}

func failed(c call, err error) Reply {
	message := err.Error()
	if c.path != "" && !strings.Contains(message, c.path) {
		message = fmt.Sprintf("%s %s: %s", c.name, c.path, message)
	}
	return Reply{Status: statusFailure, Message: printable(scrub(message, c.options.Secrets)), quiet: c.quiet()}
}

// messageLimit bounds a message, in bytes: it ends as an event of the pod.
const messageLimit = 900

// printable makes one short line of a text.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case unicode.IsControl(r) || r == utf8.RuneError:
			return '?'
		}
		return r
	}, text)
	if len(text) <= messageLimit {
		return text
	}
	text = text[:messageLimit]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text + " …"
}

// hidden stands for a secret in texts.
const hidden = "***"

// scrub takes secrets out of a text, in case a program has repeated its input.
func scrub(text string, secrets map[string]Secret) string {
	var forms []string
	for _, s := range secrets {
		forms = append(forms, base64.StdEncoding.EncodeToString(s), string(s), strings.TrimSpace(string(s)))
	}
	// The longest first: a user's name may be the beginning of the password.
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	for _, form := range forms {
		if len(form) >= shortSecret {
			text = strings.ReplaceAll(text, form, hidden)
		}
	}
	return text
}

// shortSecret is the length in bytes from which on a secret is looked for: what is
// shorter is found in any text.
const shortSecret = 3
