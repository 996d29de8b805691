package cli

//go:generate go test -run ^TestConstructorFlags$ -update .
