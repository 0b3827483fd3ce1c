package cluster

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Request is what a part of the driver asked of the apiserver.
type Request struct {
	Verb, Group, Resource, Subresource, Namespace, Name string
	// Part is the sidecar, as its user agent has it.
	Part string
	// Code is the answer's, as of HTTP.
	Code int
	// Audit is the request's identity.
	Audit string
}

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

// Requests reads all that the driver's parts have asked since the cluster was
// brought up, in order, as the apiserver's audit log has it.
func Requests() ([]Request, error) {
	path := filepath.Join(filepath.Dir(os.Getenv("KUBECONFIG")), "audit.log")
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var all []Request
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			AuditID, Stage, Verb, UserAgent string
			ObjectRef                       struct{ APIGroup, Resource, Subresource, Namespace, Name string }
			ResponseStatus                  struct{ Code int }
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		// A watch is told at its start and again at its end.
		if e.ObjectRef.Resource == "" || (e.Stage != "ResponseComplete" && e.Stage != "ResponseStarted") || (e.Verb == "watch") != (e.Stage == "ResponseStarted") {
			continue
		}
		part, _, _ := strings.Cut(e.UserAgent, "/")
		all = append(all, Request{
			Verb: e.Verb, Group: e.ObjectRef.APIGroup, Resource: e.ObjectRef.Resource, Subresource: e.ObjectRef.Subresource,
			Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name, Part: part, Code: e.ResponseStatus.Code, Audit: e.AuditID,
		})
	}
	return all, lines.Err()
}
