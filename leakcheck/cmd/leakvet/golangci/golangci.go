// Package golangci is leakvet as a module plugin of golangci-lint. In .custom-gcl.yml:
//
//	version: v2.5.0
//	plugins:
//	  - module: github.com/leaksafe/leaksafe/leakcheck/cmd/leakvet
//	    import: github.com/leaksafe/leaksafe/leakcheck/cmd/leakvet/golangci
//	    version: v0.1.0
//
// and in .golangci.yml:
//
//	linters:
//	  enable: [leakvet]
//	  settings:
//	    custom:
//	      leakvet:
//	        type: module
package golangci

import (
	"github.com/golangci/plugin-module-register/register"
	"golang.org/x/tools/go/analysis"

	"github.com/leaksafe/leaksafe/leakcheck/cmd/leakvet/vet"
)

func init() { register.Plugin("leakvet", newPlugin) }

func newPlugin(any) (register.LinterPlugin, error) { return plugin{}, nil }

type plugin struct{}

func (plugin) BuildAnalyzers() ([]*analysis.Analyzer, error) {
	return []*analysis.Analyzer{vet.Analyzer}, nil
}

// GetLoadMode is types: leakvet follows values through SSA.
func (plugin) GetLoadMode() string { return register.LoadModeTypesInfo }
