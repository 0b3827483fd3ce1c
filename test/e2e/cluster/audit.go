package cluster

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Request is what a part of the driver asked of the apiserver.
type Request struct {
	Verb, Group, Resource, Subresource, Namespace, Name string
	// Part is the sidecar, as its user agent has it.
	Part string
	// Code is the answer's, as of HTTP; Reason is why the apiserver allowed or
	// refused it, in its own words.
	Code   int
	Reason string
	// At is when it came.
	At time.Time
	// Form is the form of the driver that was installed then, or NoForm.
	Form string
}

// NoForm stands for the times in which nothing is to be learned from a refusal.
const NoForm = "none"

// Right is the request as a rule of RBAC names it.
func (r Request) Right() string {
	resource := r.Resource
	if r.Subresource != "" {
		resource += "/" + r.Subresource
	}
	if r.Group != "" {
		resource += "." + r.Group
	}
	return r.Verb + " " + resource
}

// Requests reads all that the driver's parts have asked since the first form of
// the driver was noted, in order, as the apiserver's audit log has it.
func Requests() ([]Request, error) {
	file, err := os.Open(auditLog())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	forms, err := forms()
	if err != nil {
		return nil, err
	}
	var all []Request
	lines := bufio.NewReader(file)
	for {
		text, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return all, nil // what has no end is being written
		}
		if err != nil {
			return nil, err
		}
		var e struct {
			Stage, Verb, UserAgent string
			ObjectRef              struct{ APIGroup, Resource, Subresource, Namespace, Name string }
			ResponseStatus         struct{ Code int }
			Annotations            map[string]string
			At                     time.Time `json:"requestReceivedTimestamp"`
		}
		if err := json.Unmarshal(text, &e); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		// A watch is told at its start and again at its end.
		if e.ObjectRef.Resource == "" || (e.Stage != "ResponseComplete" && e.Stage != "ResponseStarted") || (e.Verb == "watch") != (e.Stage == "ResponseStarted") {
			continue
		}
		form := formAt(forms, e.At)
		if form == "" {
			continue
		}
		part, _, _ := strings.Cut(e.UserAgent, "/")
		all = append(all, Request{
			Verb: e.Verb, Group: e.ObjectRef.APIGroup, Resource: e.ObjectRef.Resource, Subresource: e.ObjectRef.Subresource,
			Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name, Part: part, Code: e.ResponseStatus.Code,
			Reason: e.Annotations["authorization.k8s.io/reason"], At: e.At, Form: form,
		})
	}
}

func auditLog() string { return filepath.Join(filepath.Dir(os.Getenv("KUBECONFIG")), "audit.log") }

// formsFile tells which form of the driver was installed from when on: a line with
// a time, as of RFC 3339, and a form for each.
func formsFile() string { return auditLog() + ".forms" }

// NoteForm is called before a form of the driver is installed, and with NoForm
// before the apiserver is stopped: in its first moments it has not read its
// roles yet, and refuses whatever a part asks.
func NoteForm(form string) error {
	file, err := os.OpenFile(formsFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, time.Now().UTC().Format(time.RFC3339Nano), form)
	return errors.Join(err, file.Close())
}

// noted is a form from a time on.
type noted struct {
	from time.Time
	form string
}

func forms() ([]noted, error) {
	notes, err := os.ReadFile(formsFile())
	if err != nil {
		return nil, err
	}
	var all []noted
	for note := range strings.Lines(string(notes)) {
		at, form, _ := strings.Cut(strings.TrimSpace(note), " ")
		from, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", formsFile(), err)
		}
		all = append(all, noted{from, form})
	}
	return all, nil
}

// formAt is the form at a time, "" before the first.
func formAt(all []noted, at time.Time) (form string) {
	for _, n := range all {
		if n.from.After(at) {
			break
		}
		form = n.form
	}
	return form
}

// RequestsOf are those made while that form of the driver was installed.
func RequestsOf(form string) ([]Request, error) {
	all, err := Requests()
	if err != nil {
		return nil, err
	}
	var of []Request
	for _, r := range all {
		if r.Form == form {
			of = append(of, r)
		}
	}
	return of, nil
}
