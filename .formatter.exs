[
  inputs: ["{mix,.formatter}.exs", "{mix,lib,test,bench,conformance,nx_conformance,stress,examples}/**/*.{ex,exs}"],
  line_length: 120,
  locals_without_parens: [operation: 1, operation: 2, operation_in_double: 1, operation_in_double: 2]
]
