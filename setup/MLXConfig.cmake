# All that mlx-c needs of MLX to be compiled are the headers. MLX's own file of this name asks for more, such as the CUDA
# toolkit. MLX_FOLDER is given on the command line.
add_library(mlx INTERFACE IMPORTED)
target_include_directories(mlx INTERFACE "${MLX_FOLDER}/include")
target_compile_features(mlx INTERFACE cxx_std_20)
