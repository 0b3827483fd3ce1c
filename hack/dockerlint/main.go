// Command dockerlint checks Dockerfile and .dockerignore of a build context without a Docker daemon.
//
// It parses with BuildKit's own parser and runs the rules that BuildKit applies while parsing, then checks what
// this project promises of its image: everything copied exists and is not ignored, images carry a tag or digest,
// variables are declared, and the final stage runs one binary without a shell. It does not pull or build.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// predefined are the build arguments that BuildKit sets outside of any stage.
var predefined = []string{"BUILDPLATFORM=linux/amd64", "TARGETPLATFORM=linux/amd64", "TARGETOS=linux", "TARGETARCH=amd64"}

type report struct{ faults int }

func (r *report) fault(location []parser.Range, format string, args ...any) {
	line := 0
	if len(location) > 0 {
		line = location[0].Start.Line
	}
	r.faults++
	fmt.Printf("Dockerfile:%d: %s\n", line, fmt.Sprintf(format, args...))
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dockerlint CONTEXT")
		os.Exit(2)
	}
	r := &report{}
	if err := r.check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "dockerlint:", err)
		os.Exit(1)
	}
	if r.faults > 0 {
		os.Exit(1)
	}
}

func (r *report) check(context string) error {
	source, err := os.ReadFile(filepath.Join(context, "Dockerfile"))
	if err != nil {
		return err
	}
	ignored, err := readIgnore(context)
	if err != nil {
		return err
	}
	tree, err := parser.Parse(bytes.NewReader(source))
	if err != nil {
		return err
	}
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, at []parser.Range) {
		r.fault(at, "%s: %s", rule, message)
	}})
	stages, args, err := instructions.Parse(tree.AST, lint)
	if err != nil {
		return err
	}

	r.images(stages, args)
	for i, stage := range stages {
		for _, command := range stage.Commands {
			switch c := command.(type) {
			case *instructions.AddCommand:
				r.fault(c.Location(), "ADD fetches and unpacks by guess: use COPY")
			case *instructions.CopyCommand:
				r.copied(context, ignored, stages[:i], c)
			}
		}
	}
	if len(stages) > 0 {
		r.final(stages[len(stages)-1])
	}
	return nil
}

// images checks that each FROM resolves by declared arguments to a stage or to an image with a tag or digest.
func (r *report) images(stages []instructions.Stage, args []instructions.ArgCommand) {
	env := predefined
	for _, arg := range args {
		for _, a := range arg.Args {
			env = append(env, a.Key+"="+a.ValueString())
		}
	}
	lex := shell.NewLex('\\')
	for i, stage := range stages {
		result, err := lex.ProcessWordWithMatches(stage.BaseName, shell.EnvsFromSlice(env))
		if err != nil {
			r.fault(stage.Location, "FROM %s: %v", stage.BaseName, err)
			continue
		}
		for name := range result.Unmatched {
			r.fault(stage.Location, "FROM uses %s, which no ARG before the first FROM declares", name)
		}
		image := result.Result
		if _, isStage := instructions.HasStage(stages[:i], image); isStage || image == "scratch" {
			continue
		}
		if !strings.Contains(image[strings.LastIndex(image, "/")+1:], ":") && !strings.Contains(image, "@") {
			r.fault(stage.Location, "image %q has no tag", image)
		}
	}
}

func (r *report) copied(context string, ignored *patternmatcher.PatternMatcher, before []instructions.Stage, c *instructions.CopyCommand) {
	if c.From != "" {
		if _, ok := instructions.HasStage(before, c.From); !ok && !strings.Contains(c.From, ":") {
			r.fault(c.Location(), "COPY --from=%s: no such stage before this one, and no image with a tag", c.From)
		}
		return
	}
	for _, pattern := range c.SourcePaths {
		if !reaches(context, ignored, pattern) {
			r.fault(c.Location(), "COPY %s: not in the context, or wholly excluded by .dockerignore", pattern)
		}
	}
}

func (r *report) final(stage instructions.Stage) {
	entrypoint := false
	for _, command := range stage.Commands {
		switch c := command.(type) {
		case *instructions.RunCommand:
			r.fault(c.Location(), "RUN in the final stage: it has no shell")
		case *instructions.EntrypointCommand:
			entrypoint = true
			if c.PrependShell {
				r.fault(c.Location(), `ENTRYPOINT needs a shell: write it as ["/path"]`)
			}
		}
	}
	if !entrypoint {
		r.fault(stage.Location, "the final stage has no ENTRYPOINT")
	}
}

func readIgnore(context string) (*patternmatcher.PatternMatcher, error) {
	f, err := os.Open(filepath.Join(context, ".dockerignore"))
	if errors.Is(err, fs.ErrNotExist) {
		return patternmatcher.New(nil)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return patternmatcher.New(patterns)
}

// reaches tells whether at least one file that the pattern names gets into the build.
func reaches(context string, ignored *patternmatcher.PatternMatcher, pattern string) bool {
	matches, _ := filepath.Glob(filepath.Join(context, pattern))
	for _, match := range matches {
		found := false
		_ = filepath.WalkDir(match, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			name, err := filepath.Rel(context, path)
			if err != nil {
				return err
			}
			if skip, err := ignored.MatchesOrParentMatches(name); err == nil && !skip {
				found = true
				return fs.SkipAll
			}
			return nil
		})
		if found {
			return true
		}
	}
	return false
}
