package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// output is the -o flag: a table for people, or JSON for programs.
type output string

func (o *output) add(c *cobra.Command) {
	c.Flags().StringVarP((*string)(o), "output", "o", "table", "table or json")
}

// print writes the answer as JSON, or has table write it.
func (o output) print(w io.Writer, answer any, table func(row func(cells ...string))) error {
	switch o {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(answer)
	case "table":
		t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		table(func(cells ...string) { _, _ = fmt.Fprintln(t, strings.Join(cells, "\t")) })
		return t.Flush()
	}
	return fmt.Errorf("-o %q: it is table or json", string(o))
}

// size writes bytes in units of 1024, with one decimal where that is not exact.
func size(bytes int64) string {
	if bytes < 0 {
		return "-"
	}
	unit, value := "", float64(bytes)
	for _, u := range []string{"Ki", "Mi", "Gi", "Ti", "Pi", "Ei"} {
		if value < 1024 {
			break
		}
		unit, value = u, value/1024
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + unit
}

// parseSize reads what size and Kubernetes write.
func parseSize(text string) (int64, error) {
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() <= 0 {
		return 0, fmt.Errorf("--size %q: it is a positive size such as 10Gi", text)
	}
	return q.Value(), nil
}

func printYAML(w io.Writer, v any) error {
	data, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
